-- audit.sql: a table, and every version of its rows
CREATE TABLE salaries (
    employee text PRIMARY KEY,
    amount numeric NOT NULL,
    changed_by text NOT NULL DEFAULT current_user);

SELECT derive.create_view('salary_history', derivation => 'history', sources => '{salaries}',
    options => '{"retention": "10 years"}');

-- what one asks of it most: by key, and by time
CREATE INDEX ON salary_history (employee);
CREATE INDEX ON salary_history (committed_at);
