// A view that is created as any other; the database has pg_derive.maintain_new.
export const up = (pgm) => {
	pgm.createTable('sales', { id: 'id', region: { type: 'text', notNull: true }, amount: { type: 'int', notNull: true } });
	pgm.createMaterializedView('sales_by_region', {}, 'SELECT region, sum(amount) AS total FROM sales GROUP BY region');
	pgm.createIndex('sales_by_region', 'region', { unique: true });
};
