import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.debezium.engine.ChangeEvent;
import io.debezium.engine.DebeziumEngine;
import io.debezium.engine.format.Json;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;

/**
 * Debezium's connector beside us: it captures all tables of the database, has nothing of ours among them,
 * and neither replication slot disturbs the other, though workers die and the connector is away for a while.
 * And a view is captured: derive.poll() keeps a table equal to it, in transactions of its own, and that
 * table is captured as any other.  What pg_derive says of itself in the log (messages whose prefix begins
 * with "pg_derive.": that a view was filled, events of topics) a connector gets unless its settings exclude it.
 *
 * What arrives is kept as a database would: rows by table and key.
 */
public class Check {
    static final ObjectMapper mapper = new ObjectMapper();
    static final Map<String, Map<String, JsonNode>> captured = new ConcurrentHashMap<>();
    static volatile long events = 0;

    static void ok(boolean condition, String what, Object... seen) {
        if (!condition) {
            System.out.println("not ok: " + what + " " + java.util.Arrays.toString(seen));
            System.exit(1);
        }
        System.out.println("ok: " + what);
    }

    static void until(BooleanSupplier condition, String what) throws InterruptedException {
        for (int i = 0; i < 600; i++) {
            if (condition.getAsBoolean()) {
                ok(true, what);
                return;
            }
            Thread.sleep(100);
        }
        ok(false, what, captured.keySet(), events);
    }

    static Connection connect(String user) throws SQLException {
        return DriverManager.getConnection("jdbc:postgresql://" + System.getenv("PGHOST") + ":" + System.getenv("PGPORT") + "/"
                + System.getenv("PGDATABASE"), user, "app");
    }

    static void run(Connection connection, String... statements) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            for (String sql : statements)
                statement.execute(sql);
        }
    }

    static String value(Connection connection, String sql) {
        try (Statement statement = connection.createStatement(); ResultSet rows = statement.executeQuery(sql)) {
            rows.next();
            return rows.getString(1);
        } catch (SQLException error) {
            throw new RuntimeException(error);
        }
    }

    /** One change: the row that is there now, or none. */
    static void take(ChangeEvent<String, String> event) {
        try {
            if (event.value() == null)
                return;        // a tombstone, after a delete
            JsonNode value = mapper.readTree(event.value());
            String table = value.get("source").get("schema").asText() + "." + value.get("source").get("table").asText();
            Map<String, JsonNode> rows = captured.computeIfAbsent(table, name -> new ConcurrentHashMap<>());
            JsonNode after = value.get("after");
            if (value.get("op").asText().equals("t"))
                rows.clear();
            else if (after == null || after.isNull())
                rows.remove(event.key());
            else
                rows.put(event.key(), after);
            events++;
        } catch (Exception error) {
            throw new RuntimeException(error);
        }
    }

    static DebeziumEngine<ChangeEvent<String, String>> engine() {
        Properties properties = new Properties();
        Map.ofEntries(
                Map.entry("name", "shop"),
                Map.entry("connector.class", "io.debezium.connector.postgresql.PostgresConnector"),
                Map.entry("offset.storage", "org.apache.kafka.connect.storage.FileOffsetBackingStore"),
                Map.entry("offset.storage.file.filename", "offsets"),
                Map.entry("offset.flush.interval.ms", "0"),
                Map.entry("topic.prefix", "shop"),
                Map.entry("plugin.name", "pgoutput"),
                Map.entry("slot.name", "debezium"),
                Map.entry("publication.name", "everything"),
                Map.entry("publication.autocreate.mode", "disabled"),
                Map.entry("message.prefix.exclude.list", "pg_derive[.].*"),
                Map.entry("database.hostname", System.getenv("PGHOST")),
                Map.entry("database.port", System.getenv("PGPORT")),
                Map.entry("database.user", "app"),
                Map.entry("database.password", "app"),
                Map.entry("database.dbname", System.getenv("PGDATABASE")),
                Map.entry("key.converter.schemas.enable", "false"),
                Map.entry("value.converter.schemas.enable", "false"),
                Map.entry("decimal.handling.mode", "string"),
                Map.entry("skipped.operations", "none"),
                Map.entry("poll.interval.ms", "20")).forEach(properties::put);
        return DebeziumEngine.create(Json.class).using(properties).notifying(Check::take).build();
    }

    static ExecutorService start(DebeziumEngine<?> engine) {
        ExecutorService executor = Executors.newSingleThreadExecutor();
        executor.execute(engine);
        return executor;
    }

    static void stop(DebeziumEngine<?> engine, ExecutorService executor) throws Exception {
        engine.close();
        executor.shutdown();
        ok(executor.awaitTermination(60, TimeUnit.SECONDS), "the connector stops");
    }

    /** The rows of a table, or of a view by another name, as they were captured and as they are. */
    static boolean isCaptured(Connection connection, String table, String... columns) {
        String rows = value(connection, "SELECT coalesce(string_agg(concat_ws('|', " + String.join(", ", columns) + "), E'\\n' ORDER BY "
                + "concat_ws('|', " + String.join(", ", columns) + ") COLLATE \"C\"), '') FROM " + table);
        String seen = captured.getOrDefault("public." + table.replace("order_totals", "order_totals_copy"), Map.of()).values().stream()
                .map(row -> String.join("|", java.util.Arrays.stream(columns).map(column -> row.get(column).asText()).toList()))
                .sorted().collect(java.util.stream.Collectors.joining("\n"));
        return rows.equals(seen);
    }

    /** Takes what changed in the view into the table, in one transaction with the position. */
    static void follow(Connection connection) throws SQLException {
        run(connection, "SELECT derive.wait()", "CALL follow_order_totals()");
    }

    public static void main(String[] arguments) throws Exception {
        System.out.println("version: debezium " + io.debezium.connector.postgresql.Module.version());
        try (Connection admin = connect(System.getenv("ADMIN")); Connection app = connect("app")) {
            run(admin, "CREATE PUBLICATION everything FOR ALL TABLES");
            run(app, """
                    CREATE TABLE order_totals_copy (region text PRIMARY KEY, orders bigint, total numeric);
                    CREATE PROCEDURE follow_order_totals() LANGUAGE plpgsql AS $$
                    DECLARE change record;
                    BEGIN
                        FOR change IN SELECT * FROM derive.poll('copy', 100000) LOOP
                            IF change.operation = 'delete' THEN
                                DELETE FROM order_totals_copy WHERE region = change.old->>'region';
                            ELSE
                                INSERT INTO order_totals_copy SELECT * FROM jsonb_populate_record(NULL::order_totals_copy, change.new)
                                    ON CONFLICT (region) DO UPDATE SET orders = excluded.orders, total = excluded.total;
                            END IF;
                        END LOOP;
                    END $$;
                    SELECT derive.subscribe('order_totals', 'copy');
                    SELECT derive.create_topic('clicks', 'page text');
                    SELECT derive.create_view('pages', 'SELECT page, count(*) FROM clicks GROUP BY page')""");
            follow(app);

            var engine = engine();
            var executor = start(engine);
            until(() -> isCaptured(app, "orders", "id", "amount") && isCaptured(app, "order_totals", "region", "orders", "total"), "the snapshot has tables, and the view as a table");

            for (int i = 0; i < 20; i++) {
                run(app, "INSERT INTO orders (customer_id, amount) SELECT 1 + i % 3, i FROM generate_series(1, 50) i",
                        "UPDATE orders SET amount = amount + 1 WHERE id % 7 = " + i % 7, "DELETE FROM orders WHERE id % 11 = " + i % 11);
                run(app, "SELECT derive.append('clicks', ROW('page " + i % 3 + "'))");
                follow(app);
                if (i == 10)
                    run(admin, "SELECT pg_terminate_backend(pid) FROM derive.worker");
            }
            run(app, "INSERT INTO customers VALUES (4, 'Di', 'ASIA')", "INSERT INTO orders (customer_id, amount) VALUES (4, 9)",
                    "DELETE FROM orders WHERE customer_id = 1");
            follow(app);
            until(() -> isCaptured(app, "orders", "id", "amount") && isCaptured(app, "order_totals", "region", "orders", "total"), "changes of tables and of the view are captured, though our worker died");

            // the connector is away: its slot waits, ours goes on
            stop(engine, executor);
            String before = value(admin, "SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = 'debezium'");
            run(app, "INSERT INTO orders (customer_id, amount) SELECT 1 + i % 4, i FROM generate_series(1, 5000) i");
            follow(app);
            ok(before.equals(value(admin, "SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = 'debezium'")), "its slot stays where it was");
            until(() -> value(admin, "SELECT bool_and(confirmed_flush_lsn > '" + before + "') FROM pg_replication_slots WHERE plugin = 'pg_derive' AND database = current_database()").equals("t"), "ours goes on");
            engine = engine();
            executor = start(engine);
            until(() -> isCaptured(app, "orders", "id", "amount") && isCaptured(app, "order_totals", "region", "orders", "total"), "it is back, and has all");
            run(app, "TRUNCATE orders");
            follow(app);
            until(() -> isCaptured(app, "orders", "id", "amount") && isCaptured(app, "order_totals", "region", "orders", "total"), "TRUNCATE");

            ok(captured.keySet().stream().allMatch(table -> table.startsWith("public.")), "nothing of ours was captured", captured.keySet());
            ok(captured.keySet().stream().noneMatch(table -> table.equals("public.order_totals")), "the view itself is in no publication");
            stop(engine, executor);
            run(app, "INSERT INTO orders (customer_id, amount) VALUES (1, 1), (2, 2)", "SELECT derive.wait()", "SELECT derive.unsubscribe('copy')");
            run(admin, "SELECT pg_drop_replication_slot('debezium')");
        }
        System.exit(0);
    }
}
