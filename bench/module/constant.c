/*
 * The least that a function which answers with a document can do: bench_constant() returns a palloc'd copy of one
 * jsonb, which each session reads once from the table bench_document; bench_nothing() returns true, and so does
 * bench_mark(), where callgrind writes down what it has counted.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "fmgr.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(bench_constant);
PG_FUNCTION_INFO_V1(bench_nothing);
PG_FUNCTION_INFO_V1(bench_mark);

static char *kept = NULL;
static Size	kept_size = 0;

static void
keep(void)
{
	Jsonb	   *document;
	bool		is_null;

	SPI_connect();
	if (SPI_execute("SELECT doc FROM bench_document", true, 1) != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "bench_document is empty");
	document = DatumGetJsonbP(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &is_null));
	kept_size = VARSIZE(document);
	kept = MemoryContextAlloc(TopMemoryContext, kept_size);
	memcpy(kept, document, kept_size);
	SPI_finish();
}

Datum
bench_constant(PG_FUNCTION_ARGS)
{
	char	   *copy;

	if (kept == NULL)
		keep();
	copy = palloc(kept_size);
	memcpy(copy, kept, kept_size);
	PG_RETURN_POINTER(copy);
}

Datum
bench_nothing(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(true);
}

Datum
bench_mark(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(true);
}
