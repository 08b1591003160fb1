/*
 * Follow a view of pg_derive_gateway: keep a copy of its rows, and say what changes.
 *
 *   follow('totals', {key: row => row.region, change: event => ...})
 *
 * The copy is a Map from keys to rows. "change" is called with each event: operation ("insert", "update" or
 * "delete"), old, new, id and, at the end of a batch, last. "ready" is called when the rows are there, at first and when
 * all begins anew; "state" with "live" or why not. When the connection is lost it
 * comes again with the id of the last event, and goes on where it was.
 *
 * (Less code would do the same with EventSource; but of those a browser opens six for a server, in all of its tabs.)
 */
export function follow(path, {key, change = () => {}, ready = () => {}, state = () => {}}) {
    const rows = new Map();
    let lastId = null, pause = 200;

    function take(event) {
        if (event.id) lastId = event.id;
        switch (event.operation) {
            case 'reset':
                rows.clear();
                lastId = null;
                break;
            case 'initial':
                rows.set(key(event.new), event.new);
                break;
            case 'ready':
                ready(rows);
                break;
            case 'insert':
            case 'update':
            case 'delete':
                // a view without a key has a delete and an insert where others have an update: look at what is there
                if (event.old) rows.delete(key(event.old));
                if (event.new) rows.set(key(event.new), event.new);
                change(event);
                break;
            case 'error':
                state(event.code);
                break;
        }
    }

    function connect() {
        const [name, conditions] = path.split('?');
        const url = new URL(`views/${name}/changes`, location.href);
        if (conditions) url.search = conditions;
        url.protocol = url.protocol.replace('http', 'ws');
        if (lastId) url.searchParams.set('last_event_id', lastId);
        const socket = new WebSocket(url);
        socket.onopen = () => { pause = 200; state('live'); };
        socket.onmessage = message => take(JSON.parse(message.data));
        socket.onclose = () => {
            state('connecting');
            setTimeout(connect, pause);
            pause = Math.min(pause * 2, 5000);
        };
    }
    connect();
    return rows;
}
