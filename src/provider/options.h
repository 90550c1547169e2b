// The options of providers: what there is, where it stands, what it defaults to, and what is valid. The kinds
// of provider are presets of these options (presets.h).
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
    /// From the catalog's list of DefElem; the kind's preset fills in what is not there.
    static Options of_server(List* list);
    static Options of_server(std::map<std::string, std::string> given);
    static Options of_mapping(List* list);

    bool has(const char* name) const { return !get(name).empty(); }
    std::string get(const char* name) const;  ///< "" when there is none
    std::int64_t milliseconds(const char* name) const;
    std::int64_t seconds(
        const char* name) const;  ///< 1 to ten years, whatever was stored in earlier versions
    std::size_t bytes(const char* name) const;
    double share(const char* name) const;  ///< "20%" is 0.2

 private:
    std::map<std::string, std::string> given_;
    std::map<std::string, std::string> preset_;
};

/// Throws as the validator does where a default, or a value of a preset, is not valid itself. For tests.
void check_presets();

/// How a server pages an answer in which `items_path` picks the items, by the option `style`.
http::Paging paging_of(const Options& server, const char* style, const std::string& items_path);

}  // namespace rolecall::provider
