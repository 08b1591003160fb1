// And without a moment in which there is none: derive.replace_view().
export const up = (pgm) => pgm.sql(`SELECT derive.replace_view('sales_by_region',
	'SELECT region, sum(amount) AS total, count(*) AS n, max(amount) AS largest FROM sales GROUP BY region')`);
export const down = false;
