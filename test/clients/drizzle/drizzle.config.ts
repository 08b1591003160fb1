// Nothing in here is about pg_derive: schemaFilter is "public" if it is not set.
export default { dialect: 'postgresql', out: './drizzle', dbCredentials: { url: process.env.DATABASE_URL } };
