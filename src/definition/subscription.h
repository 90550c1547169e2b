// Definitions of projections refer to tables, triggers and views of their own database. A publication of all
// tables contains the tables of definitions; a subscription must not.
#pragma once

namespace rolecall::projection {

/// Keeps the tables of definitions out of subscriptions. Called once, from _PG_init, while preloading.
void subscription_init();

}  // namespace rolecall::projection
