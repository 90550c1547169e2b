// Definitions of projections are about tables, triggers and views of their own database. A publication of all
// tables has them; a subscription does without.
#pragma once

namespace rolecall::projection {

/// Keeps the tables of definitions out of subscriptions; called once, from _PG_init, while preloading.
void subscription_init();

}  // namespace rolecall::projection
