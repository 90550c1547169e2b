// Single flight: when many sessions miss the same key at once, one runs the query and the others wait for it.
#pragma once

#include "pg/pg.h"

namespace rolecall::cache {

/// Requests shared memory; called once, from _PG_init, while preloading.
void flight_init();

enum class Turn {
    mine,    ///< no other session loads this key; call end_turn() when done (an error calls it)
    waited,  ///< another session had the turn; its load has ended or must not be waited for any longer
    alone,   ///< load without waiting and without a turn
};

/// Requests the turn to load a key. Waits while another session has it, for at most a second. Does not go on
/// waiting while the other session waits for a lock, which this transaction may hold. Interruptible.
Turn take_turn(std::uint64_t key_hash);

void end_turn();

}  // namespace rolecall::cache
