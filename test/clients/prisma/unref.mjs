// "prisma db push" leaves a timer of a minute, for which its process would wait when all is done.
const { setTimeout: original } = globalThis;
globalThis.setTimeout = Object.assign((callback, ms, ...args) => {
	const timer = original(callback, ms, ...args);
	return ms >= 30_000 ? timer.unref() : timer;
}, original);
