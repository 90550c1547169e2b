// If the users of a database are replicated by a subscription, only the publisher synchronizes their roles.
// If both wrote rows, the first key conflict would stop the replication, and every revocation with it.
#pragma once

namespace rolecall::sync {

/// Returns whether users or grants of this database belong to a subscription and rolecall.sync_on_subscriber
/// is off. In a transaction.
bool is_left_to_publisher();

/// Raises object_not_in_prerequisite_state if is_left_to_publisher().
void require_own_users();

}  // namespace rolecall::sync
