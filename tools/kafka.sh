# shellcheck shell=bash
# kafka.sh: Apache Kafka and pg_derive_kafka, for the tests and the benchmark.  To be
# sourced after common.sh.
#
# Kafka is fetched from Maven Central, once, into a cache folder (PG_DERIVE_CACHE); its
# version is in test/kafka/pom.xml.  Removing the folder fetches it anew.

# Sets kafka_jars to the folder of Kafka's libraries; where they cannot be had, that ends the program.
find_kafka()
{
	local pom=$root/test/kafka/pom.xml version cache=${PG_DERIVE_CACHE:-/var/cache/pg_derive} log

	version=$(sed -n 's/.*<kafka.version>\(.*\)<.*/\1/p' "$pom")
	[ -w "$(dirname "$cache")" ] || [ -w "$cache" ] || cache=$root/build/cache
	kafka_jars=$cache/kafka-$version
	[ ! -e "$kafka_jars/complete" ] || return 0
	echo "  fetching Apache Kafka $version from Maven Central (some 54 MB, once)"
	mkdir -p "$kafka_jars" || die "$kafka_jars cannot be made"
	log=$kafka_jars/fetch.log
	mvn -B -f "$pom" dependency:copy-dependencies -DoutputDirectory="$kafka_jars" -DincludeScope=runtime >"$log" 2>&1 </dev/null ||
		die "Apache Kafka $version could not be had (see $log)"
	touch "$kafka_jars/complete"
}

# libpq is that of the system (libpq-dev), whatever the server is.
# build_kafka FOLDER [MAKE VARIABLE...]: pg_derive_kafka, in a folder; with KAFKA_CFLAGS, if they are set.
build_kafka()
{
	local folder=$1

	shift
	make -s --no-print-directory -j "$(nproc)" -C "$root/kafka" BUILD="$folder" PG_CONFIG=pg_config ${KAFKA_CFLAGS:+CFLAGS="$KAFKA_CFLAGS"} "$@"
}
