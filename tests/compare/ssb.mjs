// Secure Scuttlebutt: an append-only feed of one author, each message signed. One process holds both ends, joined by
// TCP on the loopback with Scuttlebutt's own encryption; the reader replicates the writer's feed by epidemic broadcast
// trees and checks each message's place in the feed and its signature.
//
//     node ssb.mjs FOLDER RECORDS BYTES RUNS

import { randomBytes } from 'node:crypto'
import diagnostics from 'node:diagnostics_channel'
import { mkdirSync, readFileSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import net from 'node:net'
import path from 'node:path'
import { promisify } from 'node:util'

// Packages lie in the folder that `run.sh` installed them into, not beside this file.
const require = createRequire(path.join(process.cwd(), 'package.json'))
const SecretStack = require('secret-stack')
const caps = require('ssb-caps')
const ssbKeys = require('ssb-keys')
const [db, ebt] = ['ssb-db2', 'ssb-ebt'].map((name) => require(`${name}/package.json`).version)

const [folder, records, bytes, runs] = [process.argv[2], ...process.argv.slice(3).map(Number)]
// A run that takes longer has failed.
const RUN_MAX_MS = 600_000

// The sockets that this process opened towards the other end.
const dialled = []
diagnostics.subscribe('net.client.socket', ({ socket }) => dialled.push(socket))

function peakBytes() {
  const line = /VmHWM:\s+(\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'))
  return line ? Number(line[1]) * 1024 : null
}

async function freePort() {
  const server = net.createServer()
  await new Promise((listening) => server.listen(0, '127.0.0.1', listening))
  const { port } = server.address()
  await new Promise((closed) => server.close(closed))
  return port
}

async function end(name) {
  const at = path.join(folder, name)
  mkdirSync(at, { recursive: true })
  const port = await freePort()
  return SecretStack({ caps })
    .use(require('ssb-db2'))
    .use(require('ssb-db2/compat/ebt'))
    .use(require('ssb-ebt'))
    .call(null, {
      path: at,
      keys: ssbKeys.generate(),
      connections: {
        incoming: { net: [{ scope: 'device', host: '127.0.0.1', port, transform: 'shs' }] },
        outgoing: { net: [{ transform: 'shs' }] }
      }
    })
}

// Calls a method that answers through a callback.
const ask = (whom, method, ...args) => promisify(whom[method].bind(whom))(...args)

// Text of that many bytes which nothing can pack by much.
const text = () => randomBytes(bytes).toString('base64').slice(0, bytes)

async function write(writer) {
  for (let n = 0; n < records; n++) await ask(writer.db, 'create', { content: { type: 'post', text: text() } })
  await ask(writer.db, 'onDrain', 'ebt')
}

// Resolves when that many messages of a feed are in a database's log, and what it writes of them is written.
function arrival(reader, feed) {
  return new Promise((arrived, failed) => {
    const tooLong = setTimeout(() => failed(new Error(`not done after ${RUN_MAX_MS} ms`)), RUN_MAX_MS)
    let left = records
    reader.db.onMsgAdded(({ kvt }) => {
      if (kvt.value.author !== feed || --left > 0) return
      clearTimeout(tooLong)
      reader.db.onDrain(arrived)
    })
  })
}

async function once(run) {
  const names = ['writer', 'reader'].map((name) => `ssb-${run}-${name}`)
  const [writer, reader] = await Promise.all(names.map(end))
  await write(writer)
  writer.ebt.request(writer.id, true)
  reader.ebt.request(reader.id, true)
  reader.ebt.request(writer.id, true)
  const arrived = arrival(reader, writer.id)

  dialled.length = 0
  const start = performance.now()
  await ask(reader, 'connect', writer.getAddress('device'))
  await arrived
  const seconds = (performance.now() - start) / 1000

  const wire = dialled.reduce((sum, socket) => sum + socket.bytesRead + socket.bytesWritten, 0)
  const clock = await ask(reader, 'getVectorClock')
  if (clock[writer.id] !== records) throw new Error(`${clock[writer.id]} of ${records} messages are there`)
  await Promise.all([writer, reader].map((one) => ask(one, 'close')))
  for (const name of names) rmSync(path.join(folder, name), { recursive: true, force: true })
  return { seconds, wire }
}

const measured = []
for (let run = 0; run < runs; run++) measured.push(await once(run))
console.log(JSON.stringify({
  peer: `ssb-db2 ${db}, ssb-ebt ${ebt}`,
  verifies: 'each message: hash chain, its own signature',
  durable: 'written, not synced',
  seconds: measured.map((m) => m.seconds),
  wire_bytes: measured.map((m) => m.wire),
  memory_bytes: peakBytes(),
  memory_of: 'both ends'
}))
process.exit(0)
