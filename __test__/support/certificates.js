// A certificate authority, and a server and a client certificate signed by it, made on the fly by the openssl command
// in a directory of the caller's. Valid for localhost and 127.0.0.1, for one day.
const { execFileSync } = require('node:child_process')
const fs = require('node:fs')
const path = require('node:path')

function makeCertificates(directory) {
  const file = (name) => path.join(directory, name)
  const openssl = (...args) => execFileSync('openssl', args, { stdio: ['ignore', 'ignore', 'pipe'] })
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']

  const authority = ['-x509', '-days', '1', '-subj', '/CN=test authority']
  openssl('req', ...authority, ...newKey, '-keyout', file('ca.key'), '-out', file('ca.pem'))
  for (const name of ['server', 'client']) {
    fs.writeFileSync(file(`${name}.ext`), 'subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n')
    openssl('req', '-subj', `/CN=${name}`, ...newKey, '-keyout', file(`${name}.key`), '-out', file(`${name}.csr`))
    const signedBy = ['-CA', file('ca.pem'), '-CAkey', file('ca.key'), '-CAcreateserial', '-days', '1']
    const names = ['-in', file(`${name}.csr`), '-extfile', file(`${name}.ext`), '-out', file(`${name}.pem`)]
    openssl('x509', '-req', ...signedBy, ...names)
  }

  const read = (name) => fs.readFileSync(file(name), 'utf8')
  return {
    paths: { ca: file('ca.pem'), cert: file('server.pem'), key: file('server.key') },
    ca: read('ca.pem'),
    cert: read('client.pem'),
    key: read('client.key')
  }
}

module.exports = { makeCertificates }
