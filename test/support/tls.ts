import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { RedisProcess } from './redis-process.js';

/** Where a server listens with TLS, and the certificate by which it is recognised. */
export interface TlsPort {
  readonly port: number;
  readonly ca: Buffer;
  /** The path of the certificate. */
  readonly file: string;
}

/** Makes the server listen with TLS, too, with a certificate for `name`. */
export async function listenWithTls(server: RedisProcess, name: string): Promise<TlsPort> {
  const [key, cert] = [join(server.folder, 'key.pem'), join(server.folder, 'cert.pem')];
  const request = `req -x509 -newkey rsa:2048 -nodes -keyout ${key} -out ${cert} -days 2 -subj /CN=redis`;
  execFileSync('openssl', [...request.split(' '), '-addext', `subjectAltName=${name}`], { stdio: 'ignore' });
  const port = server.port + 1;
  for (const [option, value] of [
    ['tls-cert-file', cert],
    ['tls-key-file', key],
    ['tls-ca-cert-file', cert],
    ['tls-auth-clients', 'no'],
    ['tls-port', String(port)],
  ] as const) {
    await server.call('CONFIG', 'SET', option, value);
  }
  return { port, ca: readFileSync(cert), file: cert };
}
