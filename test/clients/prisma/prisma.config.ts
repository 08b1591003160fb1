// The engines in WebAssembly, which are part of the packages; the others would be downloaded.  The adapter
// does not know the types name and "char", which the catalogs have, nor their arrays: they are shown as text.
import pg from 'pg';
import { PrismaPg } from '@prisma/adapter-pg';
import { defineConfig } from 'prisma/config';

const asText: Record<number, number> = { 18: 25, 19: 25, 1002: 1009, 1003: 1009 };

class Client extends pg.Client {
	query(...args: any[]): any {
		const convert = (result: any) => {
			for (const field of result?.fields ?? [])
				field.dataTypeID = asText[field.dataTypeID] ?? field.dataTypeID;
			return result;
		};
		const done = args.at(-1);
		if (typeof done === 'function')
			return (super.query as any)(...args.slice(0, -1), (error: any, result: any) => done(error, convert(result)));
		return (super.query as any)(...args)?.then(convert);
	}
}

export default defineConfig({
	experimental: { adapter: true },
	engine: 'js',
	schema: 'schema.prisma',
	adapter: async () => new PrismaPg(new pg.Pool({ connectionString: process.env.DATABASE_URL, Client, allowExitOnIdle: true } as any)),
});
