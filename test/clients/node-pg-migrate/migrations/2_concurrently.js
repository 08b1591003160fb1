// An index that is built beside writers, which no transaction can do.
export const up = (pgm) => {
	pgm.noTransaction();
	pgm.createIndex('sales_by_region', 'total', { concurrently: true });
};
export const down = (pgm) => {
	pgm.noTransaction();
	pgm.dropIndex('sales_by_region', 'total', { concurrently: true });
};
