// The parts of a JSON document that are read. Arrays are transparent: what applies to a value also applies to
// the elements of an array in its place.
#pragma once

#include <map>
#include <string>

namespace rolecall::core {

struct JsonShape {
    bool value = false;        ///< a string or a number here is read
    bool whole = false;        ///< everything here is read, at any depth
    bool counted = false;      ///< the elements of an array here are counted, for a limit
    bool counts_anew = false;  ///< the count starts again for each object here
    bool marks_more = false;   ///< an object here is marked if it has members that are not read
    std::map<std::string, JsonShape, std::less<>> members{};  ///< the members of an object here that are read
};

}  // namespace rolecall::core
