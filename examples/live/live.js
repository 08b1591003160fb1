/*
 * The live page: five views are followed (follow.js), and what they have is drawn again when it has changed, tables at
 * most ten times a second: so that the browser has time for what comes.
 */
import { follow } from './follow.js';

const $ = id => document.getElementById(id);
const whole = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 });
const seconds = 60;

// --- figures -----------------------------------------------------------------

let changes = 0;                                // received
const perSecond = new Array(seconds).fill(0);   // the last one is the present second
const balances = [];                            // of all accounts, one for each second
let latencies = [];                             // [when, ms]
const medians = new Array(seconds).fill(null);

const states = new Map();
function setState(view, state) {
    states.set(view, state);
    const all = [...states.values()];
    const status = all.every(s => s === 'live') ? 'live' : all.find(s => s !== 'live');
    $('status').className = status === 'live' ? 'live' : 'connecting';
    $('status').querySelector('b').textContent = status;
}

const dirty = new Set();
function draw(what) {
    if (dirty.size === 0) setTimeout(() => { const all = [...dirty]; dirty.clear(); all.forEach(f => f()); }, 100);
    dirty.add(what);
}

function counted() {
    changes++;
    perSecond[seconds - 1]++;
    draw(drawChanges);
}

function drawChanges() {
    $('changes').textContent = whole.format(changes);
}

// A canvas in the pixels of the screen, and its size in those of the page.
function canvas(id) {
    const element = $(id), { width, height } = element.getBoundingClientRect(), ratio = devicePixelRatio || 1;
    if (element.width !== Math.round(width * ratio) || element.height !== Math.round(height * ratio)) {
        element.width = Math.round(width * ratio);
        element.height = Math.round(height * ratio);
    }
    const context = element.getContext('2d');
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    return [context, width, height];
}

function spark(id, values, color, fromZero) {
    const [c, width, height] = canvas(id), known = values.filter(v => v !== null);
    if (known.length < 2) return;
    const low = fromZero ? 0 : Math.min(...known), high = Math.max(...known, low + 1e-9);
    const x = i => width * i / (values.length - 1), y = v => height - 3 - (height - 8) * (v - low) / (high - low);
    const fill = c.createLinearGradient(0, 0, 0, height);
    fill.addColorStop(0, color + '55');
    fill.addColorStop(1, color + '00');
    c.beginPath();
    let first = null, last = null;
    values.forEach((v, i) => { if (v === null) return; first === null ? c.moveTo(x(first = i), y(v)) : c.lineTo(x(i), y(v)); last = i; });
    c.lineWidth = 1.6;
    c.lineJoin = 'round';
    c.strokeStyle = color + 'cc';
    c.stroke();
    c.lineTo(x(last), height);
    c.lineTo(x(first), height);
    c.fillStyle = fill;
    c.fill();
}

setInterval(() => {
    const rate = perSecond.slice(-4, -1).reduce((a, b) => a + b, 0) / 3, now = Date.now();
    $('per-second').textContent = whole.format(rate);
    spark('rate', perSecond.slice(0, -1), '#4cc9f0', true);
    perSecond.push(0);
    perSecond.shift();

    latencies = latencies.filter(([when]) => now - when < 10000);
    const sorted = latencies.map(([, ms]) => ms).sort((a, b) => a - b);
    const at = share => sorted.length ? sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] : null;
    $('latency').textContent = sorted.length ? whole.format(at(.5)) : '–';
    $('latency-99').textContent = sorted.length ? whole.format(at(.99)) : '–';
    medians.push(at(.5));
    medians.shift();
    spark('latencies', medians, '#a78bfa', true);

    drawBank();
    if (branches.size) balances.push(bank.shown[0]);
    if (balances.length > seconds) balances.shift();
    spark('balance', balances, '#3ddc97', false);
}, 1000);

// --- the bank ----------------------------------------------------------------

/*
 * Each transaction of the bank changes an account and writes a line of its teller. Both views move in one transaction of
 * the database, so at each place of the log the money on the accounts is what the tellers moved. A stream has all that
 * belongs to a place when the first event of the next one comes.
 */
const books = { accounts: { sum: 0, at: null, closed: new Map() }, tellers: { sum: 0, at: null, closed: new Map() } };
const bank = { right: 0, wrong: 0, shown: null, changed: 0 };

function book(name, column, event) {
    const own = books[name], other = books[name === 'accounts' ? 'tellers' : 'accounts'], at = event.id.replace(/-\d+$/, '');
    if (own.at !== null && own.at !== at) {
        if (other.closed.has(own.at)) {
            bank[other.closed.get(own.at) === own.sum ? 'right' : 'wrong']++;
            bank.shown = name === 'accounts' ? [own.sum, other.closed.get(own.at)] : [other.closed.get(own.at), own.sum];
        }
        own.closed.set(own.at, own.sum);
        if (own.closed.size > 1000) own.closed.delete(own.closed.keys().next().value);
    }
    own.at = at;
    bank.changed = performance.now();
    own.sum += (event.new ? Number(event.new[column]) : 0) - (event.old ? Number(event.old[column]) : 0);
    draw(drawBank);
}

// All rows are there, at first or anew.
function openBook(name, column, rows) {
    let sum = 0;
    for (const row of rows.values()) sum += Number(row[column]);
    books[name] = { sum, at: null, closed: new Map() };
    draw(drawBank);
}

function drawBank() {
    const sign = n => (n > 0 ? '+' : n < 0 ? '−' : '') + whole.format(Math.abs(n));
    // what both had at the last place where they were compared; or have, when nothing comes
    if (bank.shown === null || performance.now() - bank.changed > 500) bank.shown = [books.accounts.sum, books.tellers.sum];
    $('accounts').textContent = sign(bank.shown[0]);
    $('tellers').textContent = sign(bank.shown[1]);
    $('exact-count').textContent = whole.format(bank.right);
    $('exact-wrong').textContent = whole.format(bank.wrong);
    $('exact').classList.toggle('wrong', bank.wrong > 0);
    $('exact-mark').textContent = bank.wrong ? '✗' : '✓';

    const all = [...branches.values()].sort((a, b) => a.bid - b.bid), most = Math.max(1, ...all.map(b => Math.abs(b.balance)));
    table('branches', all.slice(0, 6), b => b.bid, b => [
        ['', b.bid], ['n', whole.format(b.accounts)], ['n', sign(Number(b.balance))], ['wide', bar(Math.abs(b.balance) / most, b.balance < 0)]]);
}

function drawTellers() {
    const all = [...tellers.values()].sort((a, b) => a.tid - b.tid), [c, width, height] = canvas('teller-bars');
    const most = Math.max(1, ...all.map(t => Math.abs(t.moved))), middle = height / 2, step = width / Math.max(1, all.length);
    c.fillStyle = '#1d2740';
    c.fillRect(0, middle, width, 1);
    all.forEach((t, i) => {
        const size = (middle - 8) * Math.abs(t.moved) / most, fresh = Math.max(0, 1 - (performance.now() - (t.touched || -1e9)) / 900);
        c.fillStyle = t.moved >= 0 ? '#3ddc97' : '#ff5d73';
        c.globalAlpha = .55 + .45 * fresh;
        c.beginPath();
        c.roundRect(i * step + step * .18, t.moved >= 0 ? middle - size : middle + 1, step * .64, Math.max(1, size), 2);
        c.fill();
    });
    c.globalAlpha = 1;
}

// The view has the time of the server without its zone: off by quarters of an hour, which are taken away.
function measure(latest) {
    const now = Date.now(), quarter = 15 * 60 * 1000, ms = now - Date.parse(latest + 'Z');
    latencies.push([now, Math.max(0, ms - Math.round(ms / quarter) * quarter)]);
}

const branches = follow('branch_accounts', {
    key: row => row.bid,
    change(event) { counted(); book('accounts', 'balance', event); },
    ready(rows) { openBook('accounts', 'balance', rows); },
    state: state => setState('branch_accounts', state)
});
const tellers = follow('teller_work', {
    key: row => row.tid,
    change(event) {
        counted();
        book('tellers', 'moved', event);
        if (event.new) { event.new.touched = performance.now(); measure(event.new.latest); }
    },
    ready(rows) { openBook('tellers', 'moved', rows); },
    state: state => setState('teller_work', state)
});

// --- tables --------------------------------------------------------------------

const bar = (share, minus) => {
    const element = document.createElement('div');
    element.className = minus ? 'bar minus' : 'bar';
    element.style.width = `${Math.round(100 * share)}%`;
    return element;
};
const flashes = new Map();      // key of a row: until when it is new

/* Rows of a table, with cells [class, text or element]; those that changed light up. */
function table(id, rows, key, cells) {
    const body = $(id), now = performance.now();
    body.replaceChildren(...rows.map((row, i) => {
        const line = document.createElement('tr'), began = flashes.get(`${id} ${key(row)}`);
        line.dataset.key = key(row);
        if (began !== undefined && now - began < 1100) {
            line.className = 'flash';
            line.style.setProperty('--began', `${began - now}ms`);
        }
        for (const [kind, content] of cells(row, i)) {
            const cell = document.createElement('td');
            cell.className = kind;
            cell.append(content);
            if (line.className) cell.style.animationDelay = `${began - now}ms`;
            line.append(cell);
        }
        return line;
    }));
}
const light = (id, key) => flashes.set(`${id} ${key}`, performance.now());

const routes = follow('state_routes', {
    key: row => `${row.from_state} ${row.to_state}`,
    change({ new: row }) { counted(); if (row) light('routes', `${row.from_state} ${row.to_state}`); draw(drawRoutes); },
    ready() { draw(drawRoutes); },
    state: state => setState('state_routes', state)
});
function drawRoutes() {
    const first = [...routes.values()].sort((a, b) => b.flights - a.flights || (a.from_state < b.from_state ? -1 : 1)).slice(0, 6), most = first.length ? first[0].flights : 1;
    table('routes', first, r => `${r.from_state} ${r.to_state}`, r => [
        ['iata', r.from_state], ['arrow', '→'], ['iata', r.to_state], ['wide', bar(r.flights / most)], ['n', whole.format(r.flights)], ['n', whole.format(r.miles)]]);
}

// --- airports ------------------------------------------------------------------

let arcs = [];                  // departures under way: {from, to, began}
const pulses = new Map();       // of airports: when they changed

const airports = follow('airport_map', {
    key: row => row.iata,
    change({ new: row }) {
        counted();
        if (!row) return;
        pulses.set(row.iata, performance.now());
        light('airports', row.iata);
        draw(drawAirports);
    },
    ready() { draw(drawAirports); },
    state: state => setState('airport_map', state)
});

function drawAirports() {
    const first = [...airports.values()].sort((a, b) => b.flights - a.flights || (a.iata < b.iata ? -1 : 1)).slice(0, 12), most = first.length ? first[0].flights : 1;
    table('airports', first, a => a.iata, (a, i) => [
        ['rank', i + 1], ['iata', a.iata], ['city', a.city], ['n', whole.format(a.flights)], ['n', delay(a)], ['wide', bar(a.flights / most)]]);
}
function delay(airport) {
    const element = document.createElement('span');
    element.textContent = `${(airport.avg_delay ?? 0).toFixed(1)} min`;
    element.style.color = color(airport.avg_delay ?? 0);
    return element;
}

// From green (on time) by amber (8 minutes) to red (16 minutes).
function color(minutes) {
    const stops = [[61, 220, 151], [255, 183, 3], [255, 93, 115]], place = Math.max(0, Math.min(1.999, minutes / 8)), i = Math.floor(place), share = place - i;
    return `rgb(${stops[i].map((v, n) => Math.round(v + (stops[i + 1][n] - v) * share)).join(' ')})`;
}

// Where a place is on a map of width and height: the 48 states, by Albers' conic projection.
const radian = Math.PI / 180, n = (Math.sin(29.5 * radian) + Math.sin(45.5 * radian)) / 2, C = Math.cos(29.5 * radian) ** 2 + 2 * n * Math.sin(29.5 * radian);
const rho = latitude => Math.sqrt(C - 2 * n * Math.sin(latitude * radian)) / n;
function place(airport, width, height) {
    const theta = n * (airport.longitude + 96) * radian, r = rho(airport.latitude), scale = Math.min(width / .8, height / .47);
    return [width / 2 + r * Math.sin(theta) * scale, height / 2 + (r * Math.cos(theta) - rho(37.6)) * scale];
}

// Airports where nothing departs are drawn once, on a canvas of their own, until one of them changes or the size does.
const ground = { canvas: document.createElement('canvas'), of: '' };
function drawGround(width, height, ratio) {
    const quiet = [...airports.values()].filter(a => a.flights === 0 && inside(a)), of = `${width} ${height} ${quiet.length}`;
    if (ground.of === of) return;
    ground.of = of;
    ground.canvas.width = width * ratio;
    ground.canvas.height = height * ratio;
    const c = ground.canvas.getContext('2d');
    c.scale(ratio, ratio);
    c.fillStyle = '#2c3a58';
    for (const a of quiet) {
        const [x, y] = place(a, width, height);
        c.fillRect(x - .7, y - .7, 1.4, 1.4);
    }
}

const inside = a => a && a.latitude > 24 && a.latitude < 50 && a.longitude > -126 && a.longitude < -66;

let drawn = 0, departing = [];
setInterval(() => { departing = [...airports.values()].filter(a => a.flights > 0 && inside(a)); }, 500);
function drawMap(now) {
    requestAnimationFrame(drawMap);
    if (now - drawn < 40) return;
    drawn = now;
    const [c, width, height] = canvas('map');
    drawGround(width, height, devicePixelRatio || 1);
    c.drawImage(ground.canvas, 0, 0, width, height);
    const most = departing.reduce((most, a) => Math.max(most, a.flights), 1);
    for (const { iata } of departing) {
        const a = airports.get(iata);
        if (!a) continue;
        const [x, y] = place(a, width, height);
        const radius = 1.6 + 11 * Math.sqrt(a.flights / most), fresh = 1 - (now - (pulses.get(a.iata) ?? -1e9)) / 1200;
        c.fillStyle = color(a.avg_delay ?? 0);
        c.globalAlpha = .32;
        c.beginPath();
        c.arc(x, y, radius, 0, 7);
        c.fill();
        c.globalAlpha = .95;
        c.beginPath();
        c.arc(x, y, Math.max(1.3, radius * .42), 0, 7);
        c.fill();
        if (fresh > 0) {
            c.globalAlpha = fresh * .8;
            c.strokeStyle = c.fillStyle;
            c.lineWidth = 1.3;
            c.beginPath();
            c.arc(x, y, radius + 16 * (1 - fresh), 0, 7);
            c.stroke();
        }
        c.globalAlpha = 1;
    }
    arcs = arcs.filter(arc => now - arc.began < 2200);
    for (const { from, to, began } of arcs) {
        const [x1, y1] = place(from, width, height), [x2, y2] = place(to, width, height), age = (now - began) / 2200;
        const bend = Math.hypot(x2 - x1, y2 - y1) * .22, cx = (x1 + x2) / 2, cy = (y1 + y2) / 2 - bend;
        const at = t => [(1 - t) ** 2 * x1 + 2 * t * (1 - t) * cx + t * t * x2, (1 - t) ** 2 * y1 + 2 * t * (1 - t) * cy + t * t * y2];
        const head = Math.min(1, age * 1.5), tail = Math.max(0, head - .45) + Math.max(0, age - .66) * 1.3;
        for (let t = tail; t < head; t += .03) {
            const [x, y] = at(t), [u, v] = at(Math.min(head, t + .032));
            c.strokeStyle = `rgb(120 214 255 / ${.75 * (t - tail) / Math.max(.01, head - tail)})`;
            c.lineWidth = 1.5;
            c.beginPath();
            c.moveTo(x, y);
            c.lineTo(u, v);
            c.stroke();
        }
        if (head < 1) {
            const [x, y] = at(head);
            c.fillStyle = '#e8f8ff';
            c.beginPath();
            c.arc(x, y, 1.9, 0, 7);
            c.fill();
        }
    }
}
requestAnimationFrame(drawMap);

follow('last_departures', {
    key: row => row.id,
    change({ operation, new: row }) {
        counted();
        if (operation !== 'insert') return;
        const from = airports.get(row.iata), to = airports.get(row.destination);
        if (inside(from) && inside(to) && arcs.length < 160) arcs.push({ from, to, began: performance.now() });
        const line = document.createElement('li'), name = document.createElement('b');
        name.textContent = `${row.iata} → ${row.destination}`;
        line.append(from ? `${from.city} ` : '', name);
        line.dataset.id = row.id;
        $('departures').append(line);
        while ($('departures').children.length > 5) $('departures').firstChild.remove();
    },
    state: state => setState('last_departures', state)
});

setInterval(drawTellers, 100);
