#!/bin/bash
# In a machine where the packages are installed and the server is set: the programs as their services start them.
set -euo pipefail
sql() { runuser -u postgres -- psql -X -q -At -v ON_ERROR_STOP=1 "$@"; }

# The command of a unit, for an instance.
command_of() { sed -n "s/^ExecStart=//p" "/lib/systemd/system/$1.service" | sed "s/%i/${2:-}/g"; }

# What systemd says of the units: they are read, what they name is there, and their words are known.
systemd-analyze verify --man=no /lib/systemd/system/pg_derive_gateway.service /lib/systemd/system/pg_derive_{to,from}_kafka@.service
for program in pg_derive_gateway pg_derive_kafka; do
	[ -x /usr/bin/$program ]
	[ -s /usr/share/man/man1/$program.1.gz ]
	! ldd /usr/bin/$program | grep 'not found'
done

echo "the gateway, started as its unit says, answers and follows"
sql <<'SQL'
CREATE EXTENSION IF NOT EXISTS pg_derive;
CREATE ROLE gateway LOGIN NOINHERIT;
CREATE ROLE web;
GRANT web TO gateway;
CREATE TABLE sales (region text, amount int);
INSERT INTO sales VALUES ('north', 1), ('south', 2);
SELECT derive.create_view('totals', 'SELECT region, sum(amount) AS total FROM sales GROUP BY region') \g /dev/null
SELECT derive.wait() \g /dev/null
GRANT SELECT ON totals TO gateway, web;
SQL
useradd --system gateway
port=$(perl -MIO::Socket::INET -e 'print IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1")->sockport')
mkdir -p /etc/pg_derive_gateway
sed "s,^#listen_port = .*,listen_port = $port,; s,^database = .*,database = 'host=/var/run/postgresql dbname=postgres user=gateway',; s,^#anonymous_role,anonymous_role," \
	/usr/share/doc/pg-derive-gateway/examples/gateway.conf.sample >/etc/pg_derive_gateway/gateway.conf
# shellcheck disable=SC2046
runuser -u gateway -- $(command_of pg_derive_gateway) >/tmp/gateway.log 2>&1 &
perl -MHTTP::Tiny -e '
	my $http = HTTP::Tiny->new(timeout => 10);
	my $answer;
	my $get = sub {
		my ($what) = @_;
		for (1 .. 100) {
			$answer = $http->get("http://127.0.0.1:$ARGV[0]/views/totals?region=eq.north");
			return 1 if $answer->{success} && $answer->{content} =~ $what;
			select undef, undef, undef, 0.1;
		}
		return 0;
	};
	$get->(qr{"total": 1\b}) or die "no rows: $answer->{status} $answer->{content}";
	system(qq{runuser -u postgres -- psql -Xqc "INSERT INTO sales VALUES (\x27north\x27, 41)" -c "SELECT derive.wait()" -o /dev/null}) == 0 or die;
	$get->(qr{"total": 42\b}) or die "no change: $answer->{status} $answer->{content}";' "$port" || { cat /tmp/gateway.log; exit 1; }
kill %1
wait %1 || true
rm -r /etc/pg_derive_gateway
userdel gateway

echo "pg_derive_kafka, without a broker, says so"
mkdir /etc/pg_derive_kafka
cat >/etc/pg_derive_kafka/shop.conf <<'END'
name = shop
database = 'dbname=postgres user=postgres'
brokers = 127.0.0.1:1
relations = public.totals
END
# shellcheck disable=SC2046
timeout 10 runuser -u postgres -- $(command_of pg_derive_to_kafka@ shop) >/tmp/kafka.log 2>&1 || true
grep -q '127.0.0.1:1.*refused' /tmp/kafka.log || { cat /tmp/kafka.log; exit 1; }
rm -r /etc/pg_derive_kafka
sql -c "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name LIKE 'kafka%'" >/dev/null
sql -c 'DROP MATERIALIZED VIEW totals' -c 'DROP TABLE sales' -c 'DROP OWNED BY gateway, web' -c 'DROP ROLE gateway, web'
