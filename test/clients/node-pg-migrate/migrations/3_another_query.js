// Another query: dropped and created again, as PostgreSQL has no CREATE OR REPLACE for it.
const query = (columns) => `SELECT region, sum(amount) AS total${columns} FROM sales GROUP BY region`;
const replace = (pgm, columns) => {
	pgm.dropMaterializedView('sales_by_region');
	pgm.createMaterializedView('sales_by_region', {}, query(columns));
	pgm.createIndex('sales_by_region', 'region', { unique: true });
	pgm.createIndex('sales_by_region', 'total');
};
export const up = (pgm) => replace(pgm, ', count(*) AS n');
export const down = (pgm) => replace(pgm, '');
