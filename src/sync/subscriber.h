// Where the users of a database are a subscription's, their roles are the publisher's to synchronize: rows
// that both wrote would end the replication at the first key that comes twice, and with it every revocation.
#pragma once

namespace rolecall::sync {

/// Are users or grants of this database those of a subscription, and rolecall.sync_on_subscriber is off? In a
/// transaction.
bool is_left_to_publisher();

/// Raises object_not_in_prerequisite_state if so.
void require_own_users();

}  // namespace rolecall::sync
