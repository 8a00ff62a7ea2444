# SPDX-License-Identifier: BSD-2-Clause
"""node: V8's heap is its own, but parsers, zones, buffers, zlib and OpenSSL ask malloc; several threads always."""

DATA = '''
const fs = require('fs'), zlib = require('zlib'), crypto = require('crypto');
const text = fs.readFileSync(process.env.IN + '/records.json', 'utf8');
const data = JSON.parse(text);
const packed = zlib.deflateSync(JSON.stringify(data), { level: 6 });
fs.writeFileSync('packed', packed);
console.log(JSON.stringify(JSON.parse(zlib.inflateSync(packed))) === JSON.stringify(data), data.length, packed.length);
const cities = {};
for (const item of data) (cities[item.address.city] ||= []).push(item.name);
console.log(crypto.createHash('sha256').update(JSON.stringify(cities)).digest('hex'));
'''

STREAMS = '''
const fs = require('fs'), zlib = require('zlib'), crypto = require('crypto');
const { pipeline } = require('stream/promises');
async function pack(name, how, back) {
	await pipeline(fs.createReadStream(process.env.IN + '/' + name), how, fs.createWriteStream(name + '.packed'));
	const hash = crypto.createHash('sha256');
	await pipeline(fs.createReadStream(name + '.packed'), back, hash);
	return name + ' ' + hash.digest('hex');
}
Promise.all([
	pack('records.json', zlib.createGzip(), zlib.createGunzip()),
	pack('records.xml', zlib.createBrotliCompress({ params: { [zlib.constants.BROTLI_PARAM_QUALITY]: 4 } }),
		zlib.createBrotliDecompress()),
	pack('records.bin', zlib.createDeflateRaw({ level: 1 }), zlib.createInflateRaw()),
	...Array.from({ length: 8 }, (_, n) => new Promise((done) => crypto.scrypt('word', 'salt' + n, 32,
		(error, key) => done(error || key.toString('hex'))))),
]).then((lines) => console.log(lines.join('\\n')));
'''

WORKERS = '''
const { Worker, isMainThread, parentPort, workerData } = require('worker_threads');
if (isMainThread) {
	const jobs = Array.from({ length: 4 }, (_, n) => new Promise((done, fail) => {
		const worker = new Worker(__filename, { workerData: n });
		let got;
		worker.on('message', (m) => { got = m; });
		worker.on('error', fail);
		worker.on('exit', (code) => done([code, got]));
	}));
	Promise.all(jobs).then((all) => console.log(JSON.stringify(all)));
} else {
	const hash = require('crypto').createHash('sha256');
	for (let n = 0; n < 4000; n++)
		hash.update(Buffer.alloc((n * 131 + workerData) % 70000, n % 256));
	parentPort.postMessage(hash.digest('hex'));
}
'''

SERVER = '''
const http = require('http'), zlib = require('zlib'), crypto = require('crypto'), fs = require('fs');
const body = fs.readFileSync(process.env.IN + '/records.xml');
const server = http.createServer((request, response) => {
	const part = body.subarray(0, Number(request.url.slice(1)));
	response.setHeader('Content-Encoding', 'gzip');
	zlib.gzip(part, (error, packed) => response.end(error ? String(error) : packed));
});
const get = (size) => new Promise((done, fail) => http.get({ socketPath: 'socket', path: '/' + size }, (answer) => {
	const parts = [];
	answer.on('data', (part) => parts.push(part));
	answer.on('end', () => done(size + ' ' + crypto.createHash('sha256').update(
		zlib.gunzipSync(Buffer.concat(parts))).digest('hex')));
}).on('error', fail));
server.listen('socket', async () => {
	for (let n = 0; n < 10; n++)
		console.log((await Promise.all(Array.from({ length: 8 }, (_, k) => get(n * 9973 + k * 40001)))).join('\\n'));
	server.close();
});
'''


def program(text):
    return f"cat > program.js <<'END'\n{text}\nEND\nnode program.js"


QUICK = {
    'node, JSON and zlib': program(DATA),
}

LONG = {
    'node, streams on its thread pool': program(STREAMS),
    'node, worker threads': program(WORKERS),
    'node, a web server': program(SERVER),
}
