import java.math.BigDecimal;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.Properties;
import java.util.TreeSet;

/** JDBC: statements prepared on the server, cursors, metadata, and changes by derive.poll(). */
public class Check {
    static void ok(boolean condition, String what, Object... seen) {
        if (!condition) {
            System.out.println("not ok: " + what + " " + java.util.Arrays.toString(seen));
            System.exit(1);
        }
        System.out.println("ok: " + what);
    }

    static void equal(Object seen, Object expected, String what) {
        ok(expected.equals(seen), what, seen);
    }

    static void run(Connection connection, String sql) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            statement.execute(sql);
        }
    }

    static TreeSet<String> names(ResultSet rows, int column) throws SQLException {
        TreeSet<String> result = new TreeSet<>();
        while (rows.next())
            result.add(rows.getString(column));
        return result;
    }

    static BigDecimal total(PreparedStatement statement, String region) throws SQLException {
        statement.setString(1, region);
        try (ResultSet rows = statement.executeQuery()) {
            rows.next();
            return rows.getBigDecimal(1);
        }
    }

    static Connection connect(int prepareThreshold, boolean binary) throws SQLException {
        Properties properties = new Properties();
        properties.put("user", "app");
        properties.put("password", "app");
        properties.put("prepareThreshold", Integer.toString(prepareThreshold));
        properties.put("binaryTransfer", Boolean.toString(binary));
        return DriverManager.getConnection("jdbc:postgresql://" + System.getenv("PGHOST") + ":" + System.getenv("PGPORT") + "/" + System.getenv("PGDATABASE"), properties);
    }

    static void checkMetadata(Connection connection) throws SQLException {
        var metadata = connection.getMetaData();
        System.out.println("version: pgjdbc " + metadata.getDriverVersion());
        equal(names(metadata.getTables(null, "public", "%", new String[] {"MATERIALIZED VIEW"}), 3).toString(), "[order_totals, top_customers]", "getTables() lists the views");
        equal(names(metadata.getTables(null, null, "%", new String[] {"TABLE"}), 3).toString(), "[customers, orders]", "and of all schemas no table but those of the application");
        equal(names(metadata.getColumns(null, "public", "order_totals", "%"), 4).toString(), "[orders, region, total]", "getColumns() of a view");
        equal(names(metadata.getIndexInfo(null, "public", "order_totals", true, false), 6).toString(), "[order_totals_region]", "getIndexInfo() of a view");
        ok(names(metadata.getFunctions(null, "derive", "wait"), 3).contains("wait"), "getFunctions() describes derive.wait()");
    }

    static void checkPrepared(Connection connection, String how) throws SQLException {
        try (PreparedStatement read = connection.prepareStatement("SELECT total FROM order_totals WHERE region = ?");
                PreparedStatement write = connection.prepareStatement("UPDATE orders SET amount = ? WHERE id = 1");
                PreparedStatement wait = connection.prepareStatement("SELECT derive.wait('order_totals')")) {
            for (int i = 1; i <= 8; i++) {
                write.setBigDecimal(1, new BigDecimal(i));
                write.executeUpdate();
                wait.execute();
                if (total(read, "EU").compareTo(new BigDecimal(i)) != 0)
                    ok(false, how + ": round " + i, total(read, "EU"));
            }
        }
        ok(true, how + ": a prepared statement shows each change");
    }

    /** The view is exchanged under statements that are prepared: of some columns, and of all. */
    static void checkReplaced(Connection connection) throws SQLException {
        try (PreparedStatement some = connection.prepareStatement("SELECT total FROM order_totals WHERE region = ?");
                PreparedStatement all = connection.prepareStatement("SELECT * FROM order_totals WHERE region = ?")) {
            for (int i = 0; i < 3; i++) {
                total(some, "US");
                all.setString(1, "US");
                all.executeQuery().close();
            }
            run(connection, "SELECT derive.replace_view('order_totals', 'SELECT region, count(*) AS orders, sum(amount) AS total, max(amount) AS largest"
                    + " FROM orders JOIN customers ON customers.id = customer_id GROUP BY region')");
            run(connection, "SELECT derive.wait_replaced('order_totals', '60 s')");
            equal(total(some, "US").compareTo(new BigDecimal(62)), 0, "a prepared statement survives derive.replace_view()");
            all.setString(1, "US");
            try (ResultSet rows = all.executeQuery()) {
                rows.next();
                equal(rows.getMetaData().getColumnCount(), 4, "the driver prepares SELECT * anew");
            }
        }
    }

    static void checkCursor(Connection connection, Connection other) throws SQLException {
        run(connection, "INSERT INTO orders (customer_id, amount) SELECT 1 + i % 3, i FROM generate_series(1, 3000) i");
        run(connection, "SELECT derive.create_view('large', 'SELECT id, amount FROM orders WHERE amount >= 1')");
        run(connection, "SELECT derive.wait('large')");
        connection.setAutoCommit(false);
        int count = 0;
        try (Statement statement = connection.createStatement()) {
            statement.setFetchSize(100);
            try (ResultSet rows = statement.executeQuery("SELECT id FROM large")) {
                while (rows.next()) {
                    if (++count == 500) {
                        run(other, "DELETE FROM orders WHERE id > 1000");
                        run(other, "SELECT derive.wait('large')");
                    }
                }
            }
        }
        equal(count, 3003, "a cursor reads the rows of its snapshot while the view moves on");
        connection.commit();
        connection.setAutoCommit(true);
    }

    static void checkPoll(Connection connection) throws SQLException {
        run(connection, "SELECT derive.subscribe('top_customers', 'jdbc')");
        run(connection, "SELECT count(*) FROM derive.poll('jdbc', timeout => '30 s')");
        run(connection, "INSERT INTO orders (customer_id, amount) VALUES (3, 500000)");
        connection.setAutoCommit(false);
        for (int i = 0; i < 2; i++) {
            try (PreparedStatement poll = connection.prepareStatement("SELECT operation, new FROM derive.poll(?, timeout => '30 s')")) {
                poll.setString(1, "jdbc");
                try (ResultSet rows = poll.executeQuery()) {
                    ok(rows.next() && rows.getString(2) != null, i == 0 ? "derive.poll() delivers a change" : "again after a rollback");
                }
            }
            if (i == 0)
                connection.rollback();
            else
                connection.commit();
        }
        connection.setAutoCommit(true);
        run(connection, "SELECT derive.unsubscribe('jdbc')");
    }

    public static void main(String[] arguments) throws SQLException {
        try (Connection connection = connect(1, true); Connection other = connect(0, false)) {
            checkMetadata(connection);
            checkPrepared(connection, "on the server from the first time");
            checkPrepared(other, "never on the server");
            checkReplaced(connection);
            checkCursor(connection, other);
            checkPoll(connection);
        }
    }
}
