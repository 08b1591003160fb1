-- outbox.sql: a view of what customers owe, a subscription to it, and a table for messages
CREATE TABLE invoices (
    id int PRIMARY KEY,
    customer text NOT NULL,
    amount numeric NOT NULL,
    paid boolean NOT NULL DEFAULT false);

SELECT derive.create_view('open_amounts', $$
    SELECT customer, sum(amount) AS open, count(*) AS invoices
    FROM invoices WHERE NOT paid GROUP BY customer $$);

SELECT derive.subscribe('open_amounts', 'reminders');

CREATE TABLE outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL,
    body jsonb NOT NULL,
    made_at timestamptz NOT NULL DEFAULT now());
