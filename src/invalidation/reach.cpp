#include "invalidation/reach.h"

extern "C" {
#include "catalog/pg_auth_members.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_database.h"
#include "catalog/pg_db_role_setting.h"
#include "catalog/pg_default_acl.h"
#include "catalog/pg_event_trigger.h"
#include "catalog/pg_foreign_data_wrapper.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_foreign_table.h"
#include "catalog/pg_index.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_largeobject.h"
#include "catalog/pg_largeobject_metadata.h"
#include "catalog/pg_publication.h"
#include "catalog/pg_publication_namespace.h"
#include "catalog/pg_publication_rel.h"
#include "catalog/pg_subscription.h"
#include "catalog/pg_tablespace.h"
#include "catalog/pg_user_mapping.h"
}

namespace rolecall::invalidation {

namespace {

// Returns the reach of a change of an object of this type. Objects with Reach::relation are relations or
// parts of one.
Reach reach_of_type(ObjectType type) {
    switch (type) {
        case OBJECT_TABLE:
        case OBJECT_VIEW:
        case OBJECT_MATVIEW:
        case OBJECT_SEQUENCE:
        case OBJECT_FOREIGN_TABLE:
        case OBJECT_COLUMN:
        case OBJECT_DEFAULT:
        case OBJECT_TABCONSTRAINT:
        case OBJECT_TRIGGER:
        case OBJECT_POLICY:
        case OBJECT_RULE:
        case OBJECT_STATISTIC_EXT:
            return Reach::relation;

        // An index decides how rows are found, not which rows. The same holds for CREATE INDEX and REINDEX.
        case OBJECT_INDEX:
        // These act when definitions change, or on data sent between servers. No query reads through them.
        case OBJECT_EVENT_TRIGGER:
        case OBJECT_PUBLICATION:
        case OBJECT_PUBLICATION_NAMESPACE:
        case OBJECT_PUBLICATION_REL:
        case OBJECT_SUBSCRIPTION:
        // Projections over foreign tables are not cached, and only volatile functions read large objects.
        case OBJECT_FDW:
        case OBJECT_FOREIGN_SERVER:
        case OBJECT_USER_MAPPING:
        case OBJECT_LARGEOBJECT:
        // The place where rows are stored does not decide which rows exist.
        case OBJECT_TABLESPACE:
            return Reach::nothing;

        // All databases share these objects, so also their names and owners.
        case OBJECT_DATABASE:
        case OBJECT_ROLE:
            return Reach::all_databases;

        default:
            return Reach::database;
    }
}

// Privileges on databases, foreign servers and the like do not affect what a query of a view returns.
// Privileges on a function, type or schema may. This includes privileges that are granted, because a name is
// searched only in the schemas that the role may use.
Reach reach_of_grant(const GrantStmt& statement) {
    switch (statement.objtype) {
        case OBJECT_DATABASE:
        case OBJECT_FDW:
        case OBJECT_FOREIGN_SERVER:
        case OBJECT_LARGEOBJECT:
        case OBJECT_TABLESPACE:
            return Reach::nothing;
        case OBJECT_TABLE:
        case OBJECT_SEQUENCE:
            return statement.targtype == ACL_TARGET_OBJECT ? Reach::relation : Reach::database;
        default:
            return Reach::database;
    }
}

}  // namespace

Reach reach_of_tag(NodeTag tag) {
    switch (tag) {
        // These begin or end transactions, or hold locks or checks until the end.
        case T_TransactionStmt:
        case T_ConstraintsSetStmt:  // the watch triggers cannot be deferred
        case T_LockStmt:
        case T_CheckPointStmt:
        // Queries, and statements that run other statements. Each of those is examined itself.
        case T_RawStmt:
        case T_PlannedStmt:
        case T_SelectStmt:
        case T_InsertStmt:
        case T_UpdateStmt:
        case T_DeleteStmt:
        case T_MergeStmt:
        case T_ReturnStmt:
        case T_PLAssignStmt:
        case T_SetOperationStmt:
        case T_DeclareCursorStmt:
        case T_FetchStmt:
        case T_ClosePortalStmt:
        case T_PrepareStmt:
        case T_ExecuteStmt:
        case T_DeallocateStmt:
        case T_ExplainStmt:
        case T_DoStmt:
        case T_CallStmt:
        // Changes of rows, which have their own stamps.
        case T_CopyStmt:
        case T_TruncateStmt:
        // Messages between sessions.
        case T_NotifyStmt:
        case T_ListenStmt:
        case T_UnlistenStmt:
        // Settings, also those stored for databases and roles: projections run with pinned settings. A
        // session that loads a library could have loaded it earlier.
        case T_VariableSetStmt:
        case T_VariableShowStmt:
        case T_AlterSystemStmt:
        case T_AlterRoleSetStmt:
        case T_AlterDatabaseSetStmt:
        case T_LoadStmt:
        case T_DiscardStmt:  // temporary objects, plans and settings of this session
        // The way rows are found, the place where they are stored, and their statistics.
        case T_IndexStmt:
        case T_ReindexStmt:
        case T_ClusterStmt:
        case T_VacuumStmt:
        case T_CreateTableSpaceStmt:
        case T_DropTableSpaceStmt:
        case T_AlterTableSpaceOptionsStmt:
        case T_AlterTableMoveAllStmt:
        // Comments, which no function that a projection may call returns.
        case T_CommentStmt:
        // Objects that are created later have these privileges from their creation.
        case T_AlterDefaultPrivilegesStmt:
        // New databases, and the tablespaces and limits of databases.
        case T_CreatedbStmt:
        case T_AlterDatabaseStmt:
        case T_AlterDatabaseRefreshCollStmt:
        case T_DropdbStmt:  // its cached documents are removed
        // See OBJECT_EVENT_TRIGGER, OBJECT_PUBLICATION and OBJECT_FOREIGN_SERVER.
        case T_CreateEventTrigStmt:
        case T_AlterEventTrigStmt:
        case T_CreatePublicationStmt:
        case T_AlterPublicationStmt:
        case T_CreateSubscriptionStmt:
        case T_AlterSubscriptionStmt:
        case T_DropSubscriptionStmt:
        case T_CreateFdwStmt:
        case T_AlterFdwStmt:
        case T_CreateForeignServerStmt:
        case T_AlterForeignServerStmt:
        case T_CreateUserMappingStmt:
        case T_AlterUserMappingStmt:
        case T_DropUserMappingStmt:
        case T_ImportForeignSchemaStmt:  // its tables are created by statements of their own
            return Reach::nothing;

        case T_CreateStmt:
        case T_CreateForeignTableStmt:
        case T_CreateTableAsStmt:
        case T_CreateSeqStmt:
        case T_AlterSeqStmt:
        case T_ViewStmt:
        case T_RefreshMatViewStmt:
        case T_RuleStmt:
        case T_CreateTrigStmt:
        case T_CreatePolicyStmt:
        case T_AlterPolicyStmt:
        case T_CreateStatsStmt:
        case T_AlterStatsStmt:
            return Reach::relation;

        case T_CreateRoleStmt:
        case T_AlterRoleStmt:
        case T_DropRoleStmt:
        case T_GrantRoleStmt:
            return Reach::roles;

        // This is the farthest reach; reach_of() decides by the object's type.
        case T_RenameStmt:
        case T_AlterOwnerStmt:
        // These affect everything that roles own or have privileges on.
        case T_DropOwnedStmt:
        case T_ReassignOwnedStmt:
            return Reach::all_databases;

        // For AlterTableStmt, DropStmt, AlterObjectSchemaStmt and GrantStmt, reach_of() decides by the type.
        default:
            return Reach::database;
    }
}

Reach reach_of(const Node* statement) {
    switch (nodeTag(statement)) {
        case T_AlterTableStmt:
            return reach_of_type(reinterpret_cast<const AlterTableStmt*>(statement)->objtype);
        case T_DropStmt:
            return reach_of_type(reinterpret_cast<const DropStmt*>(statement)->removeType);
        case T_RenameStmt:
            return reach_of_type(reinterpret_cast<const RenameStmt*>(statement)->renameType);
        case T_AlterObjectSchemaStmt:
            return reach_of_type(reinterpret_cast<const AlterObjectSchemaStmt*>(statement)->objectType);
        case T_AlterOwnerStmt:
            return reach_of_type(reinterpret_cast<const AlterOwnerStmt*>(statement)->objectType);
        case T_GrantStmt:
            return reach_of_grant(*reinterpret_cast<const GrantStmt*>(statement));
        default:
            return reach_of_tag(nodeTag(statement));
    }
}

namespace {

// Returns the relation that a statement names, or nullptr. The field differs between statements.
const RangeVar* relation_named_by(const Node* statement) {
    switch (nodeTag(statement)) {
        case T_AlterTableStmt:
            return reinterpret_cast<const AlterTableStmt*>(statement)->relation;
        case T_RenameStmt:
            return reinterpret_cast<const RenameStmt*>(statement)->relation;
        case T_AlterObjectSchemaStmt:
            return reinterpret_cast<const AlterObjectSchemaStmt*>(statement)->relation;
        case T_AlterSeqStmt:
            return reinterpret_cast<const AlterSeqStmt*>(statement)->sequence;
        case T_ViewStmt:
            return reinterpret_cast<const ViewStmt*>(statement)->view;
        case T_RefreshMatViewStmt:
            return reinterpret_cast<const RefreshMatViewStmt*>(statement)->relation;
        case T_RuleStmt:
            return reinterpret_cast<const RuleStmt*>(statement)->relation;
        case T_CreateTrigStmt:
            return reinterpret_cast<const CreateTrigStmt*>(statement)->relation;
        case T_CreatePolicyStmt:
            return reinterpret_cast<const CreatePolicyStmt*>(statement)->table;
        case T_AlterPolicyStmt:
            return reinterpret_cast<const AlterPolicyStmt*>(statement)->table;
        default:
            return nullptr;
    }
}

}  // namespace

List* relations_named_by(const Node* statement) {
    if (IsA(statement, GrantStmt))
        return list_copy(reinterpret_cast<const GrantStmt*>(statement)->objects);
    const RangeVar* relation = relation_named_by(statement);
    return relation != nullptr ? list_make1(const_cast<RangeVar*>(relation)) : NIL;
}

Reach reach_of_catalog(Oid catalog) {
    switch (catalog) {
        case RelationRelationId:
        case InheritsRelationId:
            return Reach::relation;
        case IndexRelationId:
        // For these the statement itself is examined.
        case AuthIdRelationId:
        case AuthMemRelationId:
        case DatabaseRelationId:
        case DbRoleSettingRelationId:
        case TableSpaceRelationId:
        // For the reasons in reach_of_type() and reach_of_tag().
        case DefaultAclRelationId:
        case EventTriggerRelationId:
        case ForeignDataWrapperRelationId:
        case ForeignServerRelationId:
        case ForeignTableRelationId:
        case LargeObjectMetadataRelationId:
        case LargeObjectRelationId:
        case PublicationNamespaceRelationId:
        case PublicationRelationId:
        case PublicationRelRelationId:
        case SubscriptionRelationId:
        case UserMappingRelationId:
            return Reach::nothing;
        default:
            return Reach::database;
    }
}

}  // namespace rolecall::invalidation
