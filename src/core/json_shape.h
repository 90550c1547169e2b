// The parts of a JSON document that are read at all. Arrays are transparent: what is said about a value also
// holds for the elements of an array in its place.
#pragma once

#include <map>
#include <string>

namespace rolecall::core {

struct JsonShape {
    bool value = false;        ///< a string or a number here
    bool whole = false;        ///< all that is here, however deep
    bool counted = false;      ///< of an array here so many elements are read
    bool counts_anew = false;  ///< for each object here
    bool marks_more = false;   ///< an object here says whether it has members that nobody reads
    std::map<std::string, JsonShape, std::less<>> members{};  ///< of an object here
};

}  // namespace rolecall::core
