// Force-included into every translation unit of core/ and http/. Those layers are plain C++, so that they can
// be tested, fuzzed and sanitized without a server. A unit there that includes postgres.h does not compile.
#pragma once

#if defined(POSTGRES_H)
static_assert(false, "core/ and http/ must not be compiled with postgres.h");
#endif
#pragma GCC poison palloc pfree ereport PG_TRY
