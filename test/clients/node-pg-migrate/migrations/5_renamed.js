// A view and a column get other names, and a table that a view reads gets another column.
export const up = (pgm) => {
	pgm.renameMaterializedView('sales_by_region', 'regions');
	pgm.renameMaterializedViewColumn('regions', 'n', 'sales');
	pgm.addColumns('sales', { note: { type: 'text', default: 'none' } });
	pgm.renameColumn('sales', 'amount', 'value');
};
