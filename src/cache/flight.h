// Single flight: of many sessions that miss one key at once, one runs the query and the others wait for it.
#pragma once

#include "pg/pg.h"

namespace rolecall::cache {

/// Requests shared memory; called once, from _PG_init, while preloading.
void flight_init();

enum class Turn {
    mine,    ///< nobody else loads this key; end_turn() when done, an error does so too
    waited,  ///< somebody did, and has ended, or may have to wait for this transaction
    alone,   ///< there is no waiting for this one
};

/// Asks for the turn to load a key. Waits while another session has it, a second at most, and not while that
/// one waits for a lock, which this transaction may hold. Interruptible.
Turn take_turn(std::uint64_t key_hash);

void end_turn();

}  // namespace rolecall::cache
