#include "definition/function_text.h"

extern "C" {
#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "nodes/pg_list.h"
#include "utils/array.h"
#include "utils/syscache.h"
#include "utils/varlena.h"
}

namespace rolecall::projection {

bool has_text(HeapTuple function) {
    const auto* row = reinterpret_cast<Form_pg_proc>(GETSTRUCT(function));
    bool has_no_tree = false;
    (void)SysCacheGetAttr(PROCOID, function, Anum_pg_proc_prosqlbody, &has_no_tree);
    return row->oid >= FirstNormalObjectId && row->prolang != INTERNALlanguageId &&
           row->prolang != ClanguageId && has_no_tree;
}

const char* own_search_path(HeapTuple function) {
    bool is_null = false;
    const Datum settings = SysCacheGetAttr(PROCOID, function, Anum_pg_proc_proconfig, &is_null);
    if (is_null)
        return nullptr;
    constexpr std::string_view name = "search_path=";
    Datum* each = nullptr;
    int count = 0;
    deconstruct_array(DatumGetArrayTypeP(settings), TEXTOID, -1, false, TYPALIGN_INT, &each, nullptr, &count);
    for (int i = 0; i < count; ++i)
        if (const char* setting = TextDatumGetCString(each[i]);
            strncmp(setting, name.data(), name.size()) == 0)
            return setting + name.size();
    return nullptr;
}

bool is_left_to_callers(HeapTuple function) {
    const auto* row = reinterpret_cast<Form_pg_proc>(GETSTRUCT(function));
    if (row->prosecdef || row->prolang == SQLlanguageId || !has_text(function))
        return false;
    const char* path = own_search_path(function);
    List* schemas = NIL;
    return path == nullptr || !SplitIdentifierString(pstrdup(path), ',', &schemas) || schemas == NIL ||
           strcmp(static_cast<const char*>(llast(schemas)), "pg_temp") != 0;
}

}  // namespace rolecall::projection
