# pg_derive: materialized views that follow their tables.
#
#	make, make install		the extension, by PostgreSQL's PGXS
#	make installcheck		its tests, against the server you run (see CONTRIBUTING.md)
#	make test				every test of the extension, against private temporary servers; installs what is missing
#	make test-programs, test-kafka	those of the gateway, its page in a browser, and Prometheus; of pg_derive_kafka, with a real Kafka
#	make test-on-17, test-on-18	the same with servers of these versions
#	make test-upgrade		pg_upgrade from one of them to another
#	make test-clients		drivers, mappers and other clients, from their registries; CLIENTS chooses
#	make dist				archives of the sources, DIST names the folder
#	make test-packages		these, Debian's packages and images, built and used in minimal systems
#	make coverage, sanitize, valgrind, pauses	the tests with these instruments; they take longer
#	make fuzz				the random differential tester; FUZZ_SECONDS, FUZZ_SEED, FUZZ_ROUND, FUZZ_ONLY
#	make scenario			everything that happens in production, in random order; SCENARIO_SECONDS, SCENARIO_MODE, SCENARIO_SEED, SCENARIO_WORLD, SCENARIO_ACTIONS, SCENARIO_GOAL
#	make lint				layers, formatting, exported symbols, lists that must agree
#	make indent				format the sources
#	make gateway, make install-gateway	pg_derive_gateway: maintained views for browsers (see docs/gateway.md)
#	make fuzz-gateway		its parsers, by libFuzzer; FUZZ_SECONDS
#
# The release build puts its objects beside the sources, as PGXS does.  The
# tests run a build of their own, with assertions, in build/assert; so neither
# ever contains objects of the other.

MODULE_big = pg_derive
EXTENSION = pg_derive
# The first version and the steps from it: CREATE EXTENSION takes them all, as for those that come with PostgreSQL.
DATA = pg_derive--0.1.sql pg_derive--0.1--0.2.sql
HEADERS = include/pg_derive/derivation.h
PGFILEDESC = "pg_derive - materialized views maintained from the write-ahead log"

# In pipeline order: a table of contents (see src/README.md).
OBJS = \
	src/base/class_row.o \
	src/base/debug_point.o \
	src/base/error_context.o \
	src/base/eval_settings.o \
	src/base/groups.o \
	src/base/guard.o \
	src/base/gucs.o \
	src/base/identities.o \
	src/base/label.o \
	src/base/lane.o \
	src/base/lock_waiters.o \
	src/base/past.o \
	src/base/position.o \
	src/base/registry.o \
	src/base/rights.o \
	src/base/rowhash.o \
	src/base/published.o \
	src/base/subscribed.o \
	src/base/topic.o \
	src/base/unlocked.o \
	src/base/usercode.o \
	src/base/wait_event.o \
	src/base/waiting.o \
	src/capture/branch.o \
	src/capture/caches.o \
	src/capture/decoder.o \
	src/capture/hold.o \
	src/capture/json_stream.o \
	src/capture/json_text.o \
	src/capture/lives.o \
	src/capture/output_plugin.o \
	src/capture/standbys.o \
	src/compile/carve.o \
	src/compile/check.o \
	src/compile/conversion.o \
	src/compile/derivative.o \
	src/compile/digest.o \
	src/compile/guarded.o \
	src/compile/hidden.o \
	src/compile/join_key.o \
	src/compile/limit.o \
	src/compile/lower.o \
	src/compile/lower_grouping.o \
	src/compile/lower_in.o \
	src/compile/lower_joins.o \
	src/compile/lower_setops.o \
	src/compile/missing_rows.o \
	src/compile/occurrence.o \
	src/compile/passing_time.o \
	src/compile/place.o \
	src/compile/query.o \
	src/compile/reach.o \
	src/compile/recursion.o \
	src/compile/restrict.o \
	src/compile/running.o \
	src/compile/shape.o \
	src/compile/stable.o \
	src/compile/stages.o \
	src/compile/touched.o \
	src/compile/unqualified.o \
	src/compile/verdict.o \
	src/delta/backlog.o \
	src/delta/consolidate.o \
	src/delta/delta.o \
	src/delta/events.o \
	src/delta/held.o \
	src/delta/keyed.o \
	src/delta/keys.o \
	src/delta/sink.o \
	src/delta/sources.o \
	src/delta/stream.o \
	src/delta/tape.o \
	src/deposit/copies.o \
	src/deposit/exchange.o \
	src/deposit/fill.o \
	src/deposit/statetable.o \
	src/deposit/target.o \
	src/derivations/approx_distinct.o \
	src/derivations/history.o \
	src/derivations/history_compare.o \
	src/derivations/history_declare.o \
	src/derivations/inverted_index.o \
	src/derivations/pending.o \
	src/derivations/reachability.o \
	src/derivations/sessionize.o \
	src/derivations/support.o \
	src/derivations/topic.o \
	src/derive/aggclass.o \
	src/derive/aggcompile.o \
	src/derive/agggroups.o \
	src/derive/aggredo.o \
	src/derive/aggregate.o \
	src/derive/aggstate.o \
	src/derive/choice.o \
	src/derive/compile.o \
	src/derive/definition.o \
	src/derive/exactsum.o \
	src/derive/handlers.o \
	src/derive/identity.o \
	src/derive/inherited_order.o \
	src/derive/joinorder.o \
	src/derive/old_scan.o \
	src/derive/order_index.o \
	src/derive/plan.o \
	src/derive/recursive.o \
	src/derive/running.o \
	src/derive/select.o \
	src/derive/sumfrom.o \
	src/derive/term.o \
	src/derive/top.o \
	src/derive/toprows.o \
	src/derive/whole.o \
	src/materialize/buffer.o \
	src/materialize/context.o \
	src/materialize/explain.o \
	src/materialize/internal_tables.o \
	src/materialize/lookups.o \
	src/materialize/operators.o \
	src/materialize/preview.o \
	src/materialize/program.o \
	src/materialize/scratch.o \
	src/materialize/succession.o \
	src/materialize/tables.o \
	src/notify/journal.o \
	src/notify/spool.o \
	src/notify/subscription.o \
	src/notify/wait.o \
	src/server/advance.o \
	src/server/assistant.o \
	src/server/background.o \
	src/server/basis.o \
	src/server/batch_snapshot.o \
	src/server/build_progress.o \
	src/server/builder.o \
	src/server/clock_step.o \
	src/server/cohort.o \
	src/server/concerned.o \
	src/server/crash_guard.o \
	src/server/crashed_view.o \
	src/server/dependents.o \
	src/server/holding.o \
	src/server/hooks.o \
	src/server/journals.o \
	src/server/labelled_views.o \
	src/server/lane.o \
	src/server/lane_compute.o \
	src/server/lane_pace.o \
	src/server/lane_run.o \
	src/server/launcher.o \
	src/server/log_limit.o \
	src/server/module.o \
	src/server/moves.o \
	src/server/pace.o \
	src/server/new_views.o \
	src/server/reading.o \
	src/server/replace.o \
	src/server/replica_identity.o \
	src/server/request.o \
	src/server/requirements.o \
	src/server/retry.o \
	src/server/serve.o \
	src/server/setbacks.o \
	src/server/shmem.o \
	src/server/slow_views.o \
	src/server/standing.o \
	src/server/statistics.o \
	src/server/tend.o \
	src/server/throttle.o \
	src/server/unattended.o \
	src/server/verifier.o \
	src/server/views.o \
	src/server/watchdog.o \
	src/server/worker.o \
	src/sql/append.o \
	src/sql/arguments.o \
	src/sql/declare.o \
	src/sql/drop.o \
	src/sql/foreign_code.o \
	src/sql/groups.o \
	src/sql/histories.o \
	src/sql/maintain.o \
	src/sql/replace.o \
	src/sql/rowjson.o \
	src/sql/status.o \
	src/sql/subscribe.o

# Tests in the order in which they run; the first one creates the extension.
REGRESS = \
	setup \
	stream \
	basic \
	joins \
	long_joins \
	outer_joins \
	subqueries_in_from \
	laterals \
	windows \
	running_windows \
	distinct_on \
	not_null \
	aggregates \
	blocks \
	having \
	subqueries \
	set_operations \
	grouping_sets \
	recursive \
	choices \
	inherited_order \
	whole \
	constants \
	guards \
	limits \
	limit_errors \
	time_windows \
	keys \
	hot_rows \
	lookups \
	maintained \
	in_nulls \
	indexes \
	types \
	tables \
	silent \
	key_later \
	generated \
	refusals \
	refused_calls \
	errors \
	stable \
	settings \
	names \
	publications \
	declaring \
	maintain_new \
	labels \
	definitions \
	json_functions \
	foreign_code \
	leftovers \
	rights \
	role_changes \
	large \
	rebuild \
	replace \
	groups \
	row_types \
	sessionize \
	inverted_index \
	reachability \
	approx_distinct \
	history \
	sources \
	topics \
	subscriptions \
	user_code \
	waiting
ISOLATION = \
	setup \
	snapshot \
	readers \
	create_view \
	declare_open \
	truncate \
	truncate_open \
	ddl_open \
	partitions_open \
	locks \
	one_locked \
	aside \
	aside_events \
	commit_order \
	joins_order \
	groups_order \
	recursion_order \
	savepoints \
	publishers \
	keys \
	isolation_levels \
	cascades \
	runtime_errors \
	prepared \
	prepared_views \
	maintenance \
	rebuild \
	replace \
	groups \
	subscribers \
	subscribers_open \
	topics_open \
	histories_open \
	in_batch
# Stop our processes at debug points, which a module without assertions does not have.
ISOLATION_STOPS = in_batch
installcheck: ISOLATION := $(filter-out $(ISOLATION_STOPS), $(ISOLATION))
ISOLATION_OPTS = --inputdir=$(srcdir)/test/isolation
# Of those of the extensions in test/modules; empty: all, -: none.
MODULE_TESTS =
TAP_TESTS = 1
# Those that need Apache Kafka are run by "make test-kafka".
KAFKA_TESTS = $(sort $(wildcard test/t/*_kafka*.pl))
# Those of the gateway, a browser and Prometheus by "make test-programs".
PROGRAM_TESTS = $(sort $(wildcard test/t/*_gateway*.pl test/t/*_metrics.pl))
PROVE_TESTS = $(filter-out $(KAFKA_TESTS) $(PROGRAM_TESTS), $(sort $(wildcard test/t/*.pl)))

FUZZ_SECONDS = 600
FUZZ_SEED =
FUZZ_ROUND =
# Families of constructs that its queries are limited to (test/fuzz/fuzz_sql.py); empty: all.
FUZZ_ONLY =

# Of those in test/clients; empty: all.
CLIENTS =

# See test/scenario/scenario: a mode, a world and actions of it, and a figure at which to stop.
SCENARIO_SECONDS = 600
SCENARIO_MODE = mixed
SCENARIO_SEED =
SCENARIO_WORLD =
SCENARIO_ACTIONS =
SCENARIO_GOAL =

PG_CPPFLAGS = -I$(srcdir)/src -I$(srcdir)/include
EXTRA_CLEAN = $(OBJS:.o=.d) build output_iso tmp_check

# An out-of-tree build needs its folders, and must not take the objects of a
# release build in the source folder for its own: look there for sources only.
ifneq ($(wildcard Makefile),Makefile)
$(shell mkdir -p $(sort $(dir $(OBJS))))
endif

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)
# Debian's client package has PGXS; what it needs is in another one.
POSTGRES_H := $(shell $(PG_CONFIG) --includedir-server 2>/dev/null)/postgres.h
ifneq ($(and $(wildcard $(PGXS)),$(wildcard $(POSTGRES_H))),)

include $(PGXS)

ifneq ($(srcdir),.)
VPATH =
vpath %.c $(srcdir)
vpath %.control $(srcdir)
vpath %.sql $(srcdir)
endif

# PGXS as packaged does not track which headers an object was made from.
override CFLAGS += -MMD -MP
-include $(OBJS:.o=.d)
# Bitcode is made anew whenever its object is.
$(OBJS:.o=.bc): %.bc: %.o

else

# Only the targets below this line work, and "make test" installs the rest.
srcdir = .
.DEFAULT_GOAL = all
.PHONY: all install installcheck clean
all install installcheck:
	@echo "What PostgreSQL's extensions are built with was not found by \"$(PG_CONFIG) --pgxs\" and \"--includedir-server\"." >&2
	@echo "Install it (Debian: apt-get install postgresql-server-dev-NN, for server version NN) or set PG_CONFIG." >&2
	@exit 1
clean:
	rm -rf $(OBJS) $(OBJS:.o=.bc) $(EXTRA_CLEAN) pg_derive.so

endif

# Tests and checks.  tools/test says what it does; its lists come from here.
export KINDS REGRESS ISOLATION MODULE_TESTS PROVE_TESTS PROGRAM_TESTS KAFKA_TESTS FUZZ_SECONDS FUZZ_SEED FUZZ_ROUND FUZZ_ONLY PG_CONFIG
export SCENARIO_SECONDS SCENARIO_MODE SCENARIO_SEED SCENARIO_WORLD SCENARIO_ACTIONS SCENARIO_GOAL

.PHONY: assert-build coverage-build sanitize-build test test-on-17 test-on-18 test-upgrade test-clients coverage sanitize valgrind pauses fuzz scenario lint indent dist kafka test-kafka test-programs test-packages
assert_flags = PG_CFLAGS="-DUSE_ASSERT_CHECKING"
coverage_flags = PG_CFLAGS="-DUSE_ASSERT_CHECKING --coverage -O0" SHLIB_LINK=--coverage
sanitize_flags = PG_CFLAGS="-DUSE_ASSERT_CHECKING -fsanitize=address,undefined -fno-omit-frame-pointer -O1" SHLIB_LINK=-fsanitize=address,undefined

assert-build coverage-build sanitize-build: %-build:
	@mkdir -p build/$*
	@+$(MAKE) -s -C build/$* -f $(abspath $(firstword $(MAKEFILE_LIST))) $($*_flags) with_llvm=no all
	@rm -rf build/$*/inst
	@+$(MAKE) -s -C build/$* -f $(abspath $(firstword $(MAKEFILE_LIST))) $($*_flags) with_llvm=no install DESTDIR=$(CURDIR)/build/$*/inst

test:
	@+tools/test regress isolation modules tap

# The program that connects a database with Apache Kafka, and its tests with a real one.
kafka:
	@+$(MAKE) -s --no-print-directory -C kafka PG_CONFIG=$(PG_CONFIG)

test-kafka:
	@+tools/test kafka

# What runs beside the server: the gateway and its page, and what reads our metrics.
test-programs:
	@+tools/test programs

# The same with servers of other versions; KINDS chooses among the tests.
test-on-17 test-on-18: test-on-%:
	@+tools/other-versions $*

test-upgrade:
	@+tools/test-upgrade

test-clients:
	@+test/clients/run $(CLIENTS)

# The same tests with instruments; see tools/instruments.sh.
coverage:
	@+TEST_WITH=coverage tools/test regress isolation modules tap
sanitize:
	@+TEST_WITH=sanitize tools/test regress isolation modules tap
valgrind:
	@+TEST_WITH=valgrind tools/test regress isolation modules tap
pauses:
	@+TEST_WITH=pauses tools/test regress isolation modules tap

fuzz:
	@+tools/test fuzz

scenario:
	@+tools/test scenario

lint:
	@+tools/lint

indent:
	@tools/update-typedefs >/dev/null
	@tools/indent $(wildcard src/*/*.c src/*/*.h include/*/*.h test/modules/*/*.c examples/*/*.c client/*.[ch] gateway/*.[ch] kafka/*.[ch])

# Programs beside the server, which need other libraries than the extension.
.PHONY: gateway install-gateway fuzz-gateway
gateway:
	@+$(MAKE) -s -C gateway all
install-gateway:
	@+$(MAKE) -s -C gateway install
fuzz-gateway:
	@+test/gateway/fuzz

# PGXS' own "check" prints that it is not supported and succeeds; this one tests.
check: test

# What is handed out, of the commit that is checked out: a zip file as PGXN wants it, and the same as a tar file.
DIST = .
dist:
	@version=$$(sed -n 's/^  "version": "\(.*\)",$$/\1/p' META.json) && for format in zip tar.gz; do \
		git archive --format=$$format --prefix=pg_derive-$$version/ --output="$(DIST)/pg_derive-$$version.$$format" HEAD && \
		echo "$(DIST)/pg_derive-$$version.$$format" || exit 1; done

# The archives, Debian's packages and the images, built and used in minimal systems; STEPS chooses.
STEPS =
test-packages:
	@+tools/test-packages $(STEPS)
