// The options of providers: their names, the catalog object to which each belongs, their defaults and their
// checks. The kinds of provider are presets of these options (presets.h).
#pragma once

#include "pg/pg.h"

#include <map>

#include "http/pager.h"

extern "C" {
#include "nodes/pg_list.h"
}

namespace rolecall::provider {

class Options {
 public:
    /// From the catalog's list of DefElem. The kind's preset supplies options that are not given.
    static Options of_server(List* list);
    static Options of_server(std::map<std::string, std::string> given);
    static Options of_mapping(List* list);

    bool has(const char* name) const { return !get(name).empty(); }
    std::string get(const char* name) const;  ///< "" if it is not set
    std::int64_t milliseconds(const char* name) const;
    std::int64_t seconds(const char* name) const;  ///< 1 to ten years, whatever an earlier version stored
    std::size_t bytes(const char* name) const;
    double share(const char* name) const;  ///< "20%" is 0.2

 private:
    std::map<std::string, std::string> given_;
    std::map<std::string, std::string> preset_;
};

/// Throws like the validator if a default or a value of a preset is not valid. For tests.
void check_presets();

/// Returns how a server pages an answer whose items are picked by `items_path`, by the option `style`.
http::Paging paging_of(const Options& server, const char* style, const std::string& items_path);

}  // namespace rolecall::provider
