// Finds what a path reads by walking its parse tree.
#include "pg/json_path.h"

extern "C" {
#include "mb/pg_wchar.h"
#include "utils/jsonpath.h"
}

namespace rolecall::pg {

namespace {

// Wrappers of the server's functions: each runs in call(), so that an error cannot jump over a destructor.
JsonPathItem root_of(JsonPath* path) {
    return call([&] {
        JsonPathItem item;
        jspInit(&item, path);
        return item;
    });
}

struct Next {
    bool exists;
    JsonPathItem item;
};

Next next_of(JsonPathItem& item) {
    return call([&] {
        Next next{};
        next.exists = jspGetNext(&item, &next.item);
        return next;
    });
}

enum class Side { only, left, right };

JsonPathItem argument_of(JsonPathItem& item, Side side) {
    return call([&] {
        JsonPathItem argument;
        if (item.type == jpiLikeRegex)
            jspInitByBuffer(&argument, item.base, item.content.like_regex.expr);
        else if (side == Side::only)
            jspGetArg(&item, &argument);
        else if (side == Side::left)
            jspGetLeftArg(&item, &argument);
        else
            jspGetRightArg(&item, &argument);
        return argument;
    });
}

struct Subscript {
    bool is_range;
    JsonPathItem from, to;
};

Subscript subscript_of(JsonPathItem& item, int index) {
    return call([&] {
        Subscript subscript{};
        subscript.is_range = jspGetArraySubscript(&item, &subscript.from, &subscript.to, index);
        return subscript;
    });
}

// Returns the name in UTF-8, because responses are UTF-8 whatever the encoding of the database is.
const char* name_of(JsonPathItem& item) {
    int length = 0;
    const char* name = jspGetString(&item, &length);
    return GetDatabaseEncoding() == PG_SQL_ASCII ? name : pg_server_to_any(name, length, PG_UTF8);
}

class PathWalk {
 public:
    explicit PathWalk(core::JsonShape& document) : document_(document) {}

    // `current` is the part of the shape that @ stands for.
    core::JsonShape* follow(JsonPathItem item, core::JsonShape* current) {
        core::JsonShape* node = nullptr;
        for (Next next{true, item}; next.exists; next = next_of(item)) {
            item = next.item;
            node = step(item, node, current);
        }
        return node;
    }

    // Marks what the path finds as read.
    void read(JsonPathItem item, core::JsonShape* current) {
        if (core::JsonShape* node = follow(item, current); node != nullptr)
            node->value = true;
    }

 private:
    core::JsonShape* step(JsonPathItem& item, core::JsonShape* node, core::JsonShape* current) {
        switch (item.type) {
            case jpiRoot:
                return &document_;
            case jpiCurrent:
                return current;
            case jpiKey: {
                const char* name = call([&] { return name_of(item); });
                return node == nullptr ? nullptr : &node->members[name];
            }
            case jpiAnyArray:
                return node;
            case jpiIndexArray:
                for (int i = 0; i < item.content.array.nelems; ++i) {
                    const Subscript subscript = subscript_of(item, i);
                    read(subscript.from, current);
                    if (subscript.is_range)
                        read(subscript.to, current);
                }
                return node;
            case jpiFilter:
                read(argument_of(item, Side::only), node);
                return node;
            case jpiNull:
            case jpiString:
            case jpiNumeric:
            case jpiBool:
            case jpiVariable:
            case jpiLast:
                return nullptr;
            case jpiAnd:
            case jpiOr:
            case jpiEqual:
            case jpiNotEqual:
            case jpiLess:
            case jpiGreater:
            case jpiLessOrEqual:
            case jpiGreaterOrEqual:
            case jpiAdd:
            case jpiSub:
            case jpiMul:
            case jpiDiv:
            case jpiMod:
            case jpiStartsWith:
                read(argument_of(item, Side::left), current);
                read(argument_of(item, Side::right), current);
                return nullptr;
            case jpiNot:
            case jpiIsUnknown:
            case jpiExists:
            case jpiPlus:
            case jpiMinus:
            case jpiLikeRegex:
                read(argument_of(item, Side::only), current);
                return nullptr;
            case jpiType:
            case jpiSize:
            case jpiAbs:
            case jpiFloor:
            case jpiCeiling:
            case jpiDouble:
                if (node != nullptr)
                    node->value = true;
                return nullptr;
            default:  // members of any name, and unknown items: everything is read
                document_.whole = node == nullptr || document_.whole;
                if (node != nullptr)
                    node->whole = true;
                return node;
        }
    }

    core::JsonShape& document_;
};

// A filter that is not inside another one: the path before it and its condition, as the server prints them.
struct Filter {
    std::string before;
    std::string condition;
};

std::vector<Filter> filters_of(const std::string& path) {
    std::vector<Filter> filters;
    bool quoted = false;
    int depth = 0;
    std::size_t begin = 0;
    for (std::size_t i = 0; i < path.size(); ++i) {
        const char c = path[i];
        if (quoted) {
            quoted = c != '"';
            i += c == '\\' ? 1 : 0;
        } else if (c == '"') {
            quoted = true;
        } else if (c == '(') {
            if (depth++ == 0)
                begin = i > 0 && path[i - 1] == '?' ? i + 1 : 0;
        } else if (c == ')' && --depth == 0 && begin > 0) {
            filters.push_back({path.substr(0, begin - 2), path.substr(begin, i - begin)});
        }
    }
    return filters;
}

JsonPath* parsed(const std::string& path) {
    return call(
        [&] { return DatumGetJsonPathP(DirectFunctionCall1(jsonpath_in, CStringGetDatum(path.c_str()))); });
}

}  // namespace

core::JsonShape* json_add_to_shape(core::JsonShape& document, const std::string& path) {
    if (path.empty())
        return nullptr;
    core::JsonShape* found = PathWalk(document).follow(root_of(parsed(path)), nullptr);
    if (found != nullptr)
        found->value = true;
    return found;
}

std::vector<std::string> json_unknown_paths(const std::string& path) {
    std::vector<std::string> paths;
    if (path.find('?') == std::string::npos)
        return paths;
    JsonPath* tree = parsed(path);
    const std::string spelled =
        call([&] { return DatumGetCString(DirectFunctionCall1(jsonpath_out, PointerGetDatum(tree))); });
    for (const Filter& filter : filters_of(spelled))
        paths.push_back(filter.before + "?((" + filter.condition + ") is unknown)");
    return paths;
}

}  // namespace rolecall::pg
