# Build and install: make && make install            (PG_CONFIG=/path/to/pg_config)
# Tests, linters and the rest: make help

EXTENSION   = rolecall
EXTVERSION := $(shell sed -n "s/^default_version = '\(.*\)'/\1/p" rolecall.control)
MODULE_big  = rolecall
SCRIPT      = build/rolecall--$(EXTVERSION).sql
RELEASED    = $(filter-out $(EXTVERSION),$(patsubst sql/upgrade/rolecall--%.sql,%,$(wildcard sql/upgrade/rolecall--*.sql)))
UPGRADES    = $(patsubst %,build/rolecall--%--$(EXTVERSION).sql,$(RELEASED))
DATA_built  = $(SCRIPT) $(UPGRADES)
DATA        = $(RELEASED:%=sql/upgrade/rolecall--%.sql)

OBJS       = $(patsubst %.cpp,%.o,$(sort $(wildcard src/*.cpp src/*/*.cpp)))
PLAIN_OBJS = $(filter src/core/% src/http/%,$(OBJS))

PG_CONFIG  ?= pg_config
ifeq ($(shell $(PG_CONFIG) --version 2>/dev/null),)
$(error $(PG_CONFIG) was not found. Install the development package of PostgreSQL (Debian: postgresql-server-dev-15), or say where it is: make PG_CONFIG=/path/to/pg_config)
endif
PG_CPPFLAGS = -Isrc -isystem $(shell $(PG_CONFIG) --includedir-server) -MMD -MP -DROLECALL_VERSION='"$(EXTVERSION)"' $(if $(TESTING),-DROLECALL_TESTING)
PG_CXXFLAGS = -std=c++20 -fvisibility-inlines-hidden -Wall -Wextra $(if $(findstring clang,$(CXX)),-Wno-unknown-warning-option -Wno-deprecated-volatile) $(if $(WERROR),-Werror)
SHLIB_LINK  = -lcurl -lstdc++ -Wl,--version-script=src/exports.map
EXTRA_CLEAN = build $(OBJS:.o=.d)

# Tests against a server that has the library preloaded (make installcheck); the rest is below.
REGRESS        = extension me freshness expiry ddl projections exactness providers groups keys
ISOLATION      = $(sort $(patsubst test/isolation/specs/%.spec,%,$(wildcard test/isolation/specs/*.spec)))
ISOLATION_OPTS = --inputdir=test/isolation --outputdir=test/isolation --load-extension=rolecall
PROVE_TESTS    = $(sort $(wildcard test/tap/*.pl))

# Debian's bitcode rule compiles C++ without PG_CXXFLAGS; nothing here would gain from inlining into plans.
override with_llvm := no

PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

# Plain layers: postgres.h does not compile there.
$(PLAIN_OBJS): override CPPFLAGS += -include src/core/plain.h

# Headers are tracked by the compiler; a change of flags or of the server rebuilds everything, a change of TESTING what
# asks for it.
-include $(OBJS:.o=.d)
FLAGS   := $(filter-out -DROLECALL_TESTING,$(PG_CPPFLAGS)) $(PG_CXXFLAGS) $(CXX) $(shell $(PG_CONFIG) --version --configure)
keep     = $(shell mkdir -p build; echo '$(2)' | cmp -s - build/$(1) || echo '$(2)' > build/$(1))
$(call keep,flags,$(subst ',,$(FLAGS)))
$(call keep,testing,$(TESTING))
TESTED  := $(shell grep -lsE 'src/pg/testing\.h' $(OBJS:.o=.d)) $(shell grep -l ROLECALL_TESTING $(OBJS:.o=.cpp))
$(OBJS): build/flags Makefile
$(addsuffix .o,$(basename $(TESTED))): build/testing
$(shlib): src/exports.map

# What every unit of the server's side parses, parsed once: half of the time of a build, and of use to g++ only.
ifdef PRECOMPILED
SERVER_OBJS = $(filter-out $(PLAIN_OBJS),$(OBJS))
$(SERVER_OBJS): override CPPFLAGS += -include build/server.h -Winvalid-pch
$(SERVER_OBJS): build/server.h.gch
build/server.h.gch: src/pg/pg.h src/pg/compat.h build/flags Makefile
	echo '#include "pg/pg.h"' > build/server.h
	$(CXX) $(CXXFLAGS) $(CPPFLAGS) -fPIC -x c++-header -c -o $@ build/server.h
endif

# The scripts of the extension, made of these files in this order; sql/README.md says how.
FIRST_CODE = $(addprefix sql/install/code/,head.sql before_tables.sql)
TABLES     = $(addprefix sql/install/tables/,schema.sql directory.sql sync_state.sql home.sql audit.sql safety.sql authentication.sql \
	projections.sql watch_references.sql providers.sql role_sync_result.sql provider_sync_result.sql packs.sql)
CODE       = $(addprefix sql/install/code/,directory.sql sync_state.sql audit.sql safety.sql authentication.sql views.sql \
	projections.sql projection_admin.sql nodes.sql reads.sql builtin.sql sync.sql statistics.sql) \
	$(addprefix sql/packs/,packs.sql supertokens_tables.sql supertokens_views.sql supertokens_functions.sql supertokens_notify.sql supertokens.sql) \
	$(addprefix sql/install/code/,dump.sql privileges.sql)
$(SCRIPT) $(UPGRADES): $(FIRST_CODE) $(TABLES) $(CODE) $(wildcard sql/upgrade/*.sql) scripts/upgrade-script rolecall.control Makefile

# Plain CREATE: what is there already when the extension is created is an error.
$(SCRIPT):
	@mkdir -p build
	{ printf '%s\n' '\echo Use "CREATE EXTENSION rolecall" to load this file. \quit' && \
	  sed 's/^CREATE OR REPLACE /CREATE /' $(FIRST_CODE) $(TABLES) $(CODE); } > $@.new
	mv $@.new $@

$(UPGRADES): build/rolecall--%--$(EXTVERSION).sql:
	@mkdir -p build
	{ printf '%s\n' '\echo Use "ALTER EXTENSION rolecall UPDATE" to load this file. \quit' && \
	  cat $(FIRST_CODE) && scripts/upgrade-script $* $(EXTVERSION) && \
	  cat sql/upgrade/before_code.sql $(CODE) sql/upgrade/after_code.sql; } > $@.new
	mv $@.new $@

# ---- Tests and tools ------------------------------------------------------------------------------------------
# tapcheck starts servers of its own and needs a build with TESTING=1; pgtapcheck needs pgTAP, pg_prove and a
# database with the extension. scripts/check does all of it, set-up included; quickcheck takes two minutes.

.PHONY: dist tapcheck pgtapcheck unitcheck fuzzcheck lint format quickcheck soak demo bench help

# What PGXN takes: the last commit, in a folder that is named after the version, with the install script in one file, as
# META.json says.
dist: $(SCRIPT)
	mkdir -p dist
	git archive --format=zip -o dist/$(EXTENSION)-$(EXTVERSION).zip --prefix=$(EXTENSION)-$(EXTVERSION)/sql/ \
		--add-file=$(SCRIPT) --prefix=$(EXTENSION)-$(EXTVERSION)/ HEAD

tapcheck:
	$(prove_installcheck)

pgtapcheck:
	pg_prove --ext .sql test/pgtap

unitcheck:
	cmake -S . -B build/unit-$(SANITIZE) -DSANITIZE=$(SANITIZE) >/dev/null
	cmake --build build/unit-$(SANITIZE) -j2 --target unit $(if $(filter thread,$(SANITIZE)),,model) >/dev/null
	build/unit-$(SANITIZE)/unit --gtest_brief=1
	$(if $(filter thread,$(SANITIZE)),,build/unit-$(SANITIZE)/model --gtest_brief=1)

fuzzcheck:
	cmake -S . -B build/fuzz -DCMAKE_CXX_COMPILER=clang++ -DFUZZ=ON >/dev/null
	cmake --build build/fuzz -j2 --target fuzzers >/dev/null
	ctest --test-dir build/fuzz -R fuzz --output-on-failure

lint:
	scripts/lint

format:
	clang-format -i src/*.cpp src/*/*.cpp src/*/*.h test/unit/*.cpp test/unit/*.h test/model/* test/fuzz/*.cpp

quickcheck:
	scripts/check --quick

soak:
	scripts/check --soak

demo:
	scripts/demo

bench:
	bench/run

help:
	@echo "all install installcheck dist tapcheck pgtapcheck unitcheck fuzzcheck lint format quickcheck soak demo bench clean"
