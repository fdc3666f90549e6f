// Hypercore: an append-only log of one author. One process holds both ends, joined by TCP on the loopback with
// Hypercore's own encryption; the reader checks each block against the signed Merkle tree.
//
//     node hypercore.mjs FOLDER RECORDS BYTES RUNS

import { randomBytes } from 'node:crypto'
import { readFileSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import net from 'node:net'
import path from 'node:path'

// Packages lie in the folder that `run.sh` installed them into, not beside this file.
const require = createRequire(path.join(process.cwd(), 'package.json'))
const Hypercore = require('hypercore')
const { version } = require('hypercore/package.json')

const [folder, records, bytes, runs] = [process.argv[2], ...process.argv.slice(3).map(Number)]

function peakBytes() {
  const line = /VmHWM:\s+(\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'))
  return line ? Number(line[1]) * 1024 : null
}

async function once(run) {
  const at = (name) => path.join(folder, `hypercore-${run}-${name}`)
  const writer = new Hypercore(at('writer'))
  await writer.ready()
  await writer.append(Array.from({ length: records }, () => randomBytes(bytes)))
  const reader = new Hypercore(at('reader'), writer.key)
  await reader.ready()

  const sockets = []
  const server = net.createServer((socket) => {
    sockets.push(socket)
    const stream = writer.replicate(false)
    socket.pipe(stream).pipe(socket)
    for (const end of [socket, stream]) end.on('error', () => {})
  })
  await new Promise((listening) => server.listen(0, '127.0.0.1', listening))

  const start = performance.now()
  const socket = net.connect(server.address().port, '127.0.0.1')
  const stream = reader.replicate(true)
  socket.pipe(stream).pipe(socket)
  for (const end of [socket, stream]) end.on('error', () => {})
  await reader.download({ start: 0, end: records }).done()
  const seconds = (performance.now() - start) / 1000

  if (reader.length !== records || reader.contiguousLength !== records) throw new Error('blocks are missing')
  const wire = socket.bytesRead + socket.bytesWritten
  for (const end of [socket, ...sockets]) end.destroy()
  server.close()
  await writer.close()
  await reader.close()
  for (const name of ['writer', 'reader']) rmSync(at(name), { recursive: true, force: true })
  return { seconds, wire }
}

const measured = []
for (let run = 0; run < runs; run++) measured.push(await once(run))
console.log(JSON.stringify({
  peer: `hypercore ${version}`,
  verifies: 'each block: Merkle tree, signed root',
  durable: 'written, not synced',
  seconds: measured.map((m) => m.seconds),
  wire_bytes: measured.map((m) => m.wire),
  memory_bytes: peakBytes(),
  memory_of: 'both ends'
}))
process.exit(0)
