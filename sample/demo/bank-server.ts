import { createServer } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';

/** The demonstration's bank: answers after 10 to 40 ms and counts the charges of each order. */
const charges = new Map<string, number>();
const greatestToken = new Map<string, number>();

createServer((request, response) => {
  void (async () => {
    const order = decodeURIComponent(request.url?.split('/')[2] ?? '');
    let body = '';
    for await (const chunk of request) body += String(chunk);
    await sleep(10 + Math.random() * 30);
    if (request.method === 'POST') {
      const { fencingToken } = JSON.parse(body || '{}') as { fencingToken?: number };
      if (fencingToken !== undefined && fencingToken < (greatestToken.get(order) ?? 0)) {
        response.writeHead(409).end('a later holder of the lock has been here');
        return;
      }
      if (fencingToken !== undefined) greatestToken.set(order, fencingToken);
      charges.set(order, (charges.get(order) ?? 0) + 1);
    }
    response
      .writeHead(200, { 'content-type': 'application/json' })
      .end(JSON.stringify({ charges: charges.get(order) ?? 0 }));
  })();
}).listen(Number(process.env['PORT']), '127.0.0.1');
