import java.io.*;
import java.net.URI;
import java.sql.*;
import java.util.*;
import org.postgresql.PGConnection;

/** The scene, played by JDBC: prepared on the server from the first run on, fetch size, batches. */
public class Scene {
    private final Connection conn;
    private final String name;

    private Scene(Connection conn, String name) {
        this.conn = conn;
        this.name = name;
    }

    public static void main(String[] args) throws Exception {
        System.setOut(new PrintStream(System.out, true, "UTF-8"));
        URI u = URI.create(args[0]);
        String[] user = u.getUserInfo().split(":");
        Properties p = new Properties();
        p.setProperty("user", user[0]);
        p.setProperty("password", user[1]);
        p.setProperty("sslmode", "disable");
        p.setProperty("prepareThreshold", "1");
        try (Connection c = DriverManager.getConnection("jdbc:postgresql://" + u.getHost() + ":" + u.getPort() + u.getPath(), p)) {
            new Scene(c, args[1]).play();
        }
        System.out.println("done");
    }

    private void play() throws Exception {
        say("query", one("SELECT 42, 'héllo'"));
        say("parameters", one("SELECT ?::int, ?::text, ?::text", 7, "héllo", null));
        manyRows();
        transactions();
        copy();
        notice();
        jobs();
    }

    private void manyRows() throws SQLException {
        conn.setAutoCommit(false); // else the fetch size does not count
        int n = 0;
        long sum = 0;
        try (PreparedStatement s = conn.prepareStatement("SELECT i FROM generate_series(1, ?) i")) {
            s.setFetchSize(100);
            s.setInt(1, 10000);
            ResultSet r = s.executeQuery();
            while (r.next()) {
                n++;
                sum += r.getInt(1);
            }
        }
        conn.commit();
        conn.setAutoCommit(true);
        System.out.println("many rows " + n + " " + sum);
    }

    private void transactions() throws SQLException {
        run("CREATE TEMP TABLE scratch (id int)");
        conn.setAutoCommit(false);
        try (PreparedStatement s = conn.prepareStatement("INSERT INTO scratch VALUES (?)")) {
            for (int i = 1; i <= 2; i++) {
                s.setInt(1, i);
                s.addBatch();
            }
            s.executeBatch();
        }
        String inside = one("SELECT count(*) FROM scratch");
        conn.rollback();
        System.out.println("transaction " + inside + " " + one("SELECT count(*) FROM scratch"));
        conn.commit();
        conn.setAutoCommit(true);

        say("error", code("SELECT 1 / ?", 0));
        conn.setAutoCommit(false);
        code("SELECT nonsense");
        System.out.println("aborted " + code("SELECT 1") + " " + code("SHOW JOBS"));
        conn.rollback();
        conn.setAutoCommit(true);
    }

    private void copy() throws Exception {
        var api = conn.unwrap(PGConnection.class).getCopyAPI();
        api.copyIn("COPY scratch FROM STDIN", new StringReader("1\n2\n3\n"));
        var out = new StringWriter();
        api.copyOut("COPY scratch TO STDOUT", out);
        var numbers = Arrays.stream(out.toString().split("\n")).mapToInt(Integer::parseInt).toArray();
        System.out.println("copy " + numbers.length + " " + Arrays.stream(numbers).sum());
    }

    private void notice() throws SQLException {
        try (Statement s = conn.createStatement()) {
            s.execute("DO $$BEGIN RAISE NOTICE 'hello'; END$$");
            System.out.println("notice " + s.getWarnings().getMessage());
        }
    }

    private void jobs() throws SQLException {
        String[] flushed = one("FLUSH TABLE app." + name + "_rows WITH (wait = true)").split(" ");
        String job = flushed[0];
        System.out.println("flush " + flushed[1] + " " + one("SELECT rows_flushed FROM system.jobs WHERE job_id = ?", job));
        for (int i = 0; i < 3; i++) { // text first, then binary
            one("SELECT status, rows_flushed, created_at FROM system.jobs WHERE job_id = ?", job);
        }
        say("jobs", one("SELECT status, rows_flushed FROM system.jobs WHERE job_id = ?", job));
        System.out.println("shown " + shown(job));
        say("syntax", code("FLUSH TABLES"));
        say("unknown", code("KILL JOB ?", "flush:app.x:0193d2c4-7b1e-7c3a-9f4e-2b1d5c6a7e8f"));
        say("finished", code("KILL JOB ?", job));

        String held = one("FLUSH TABLE app." + name + "_held").split(" ")[0];
        say("kill", one("KILL JOB ?", held).split(" ")[1]);
        String status = "cancelling";
        while (status.equals("cancelling")) {
            status = one("SELECT status FROM system.jobs WHERE job_id = ?", held);
            run("SELECT pg_sleep(0.02)");
        }
        say("killed", status);
    }

    /** Reads SHOW JOBS in portions, and one job by its id. */
    private String shown(String job) throws SQLException {
        conn.setAutoCommit(false);
        try (PreparedStatement s = conn.prepareStatement("SHOW JOBS")) {
            s.setFetchSize(1);
            ResultSet r = s.executeQuery();
            while (r.next()) {
                r.getTimestamp("created_at");
            }
        }
        conn.commit();
        conn.setAutoCommit(true);
        String out = "";
        for (int i = 0; i < 3; i++) {
            try (PreparedStatement s = conn.prepareStatement("SHOW JOB ?")) {
                s.setString(1, job);
                ResultSet r = s.executeQuery();
                r.next();
                out = r.getString("status") + " " + r.getLong("rows_flushed");
            }
        }
        return out;
    }

    private static void say(String what, String value) {
        System.out.println(what + " " + value);
    }

    private void run(String sql) throws SQLException {
        try (Statement s = conn.createStatement()) {
            s.execute(sql);
        }
    }

    private String one(String sql, Object... args) throws SQLException {
        try (PreparedStatement s = conn.prepareStatement(sql)) {
            for (int i = 0; i < args.length; i++) {
                s.setObject(i + 1, args[i]);
            }
            ResultSet r = s.executeQuery();
            r.next();
            var row = new StringJoiner(" ");
            for (int i = 1; i <= r.getMetaData().getColumnCount(); i++) {
                Object v = r.getObject(i);
                row.add(v == null ? "NULL" : v.toString());
            }
            return row.toString();
        }
    }

    private String code(String sql, Object... args) {
        try {
            one(sql, args);
            return "none";
        } catch (SQLException e) {
            return e.getSQLState();
        }
    }
}
