// The options of providers: what there is, where it stands, what it defaults to, and what is valid. The kinds
// of provider are presets of these options.
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

/// The option `headers`: lines of "Name: value".
std::vector<std::string> split_headers(const std::string& text);

/// Lists of names: separated by commas, with spaces around them or not; sorted, each once.
std::vector<std::string> split_list(const std::string& text);

/// Throws Error 22023 where there is no such style.
http::Paging::Style paging_style(const std::string& name);

/// How a server pages an answer in which `items_path` picks the items, by the option `style`.
http::Paging paging_of(const Options& server, const char* style, const std::string& items_path);

}  // namespace rolecall::provider
