// What is published: packed as the release does it, installed into an empty Express app as a user would, served there.
const { execFile, fork } = require('node:child_process')
const { once } = require('node:events')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const { promisify } = require('node:util')
const { startRedis } = require('./support/redis')

const run = promisify(execFile)
const ROOT = path.join(__dirname, '..')
const MAIN = readJson(ROOT, 'package.json')
const PLATFORMS = fs.readdirSync(path.join(ROOT, 'npm')).map((name) => readJson(ROOT, 'npm', name, 'package.json'))

// npm asks the registry, and starts a few processes: on a busy machine that takes its time.
const INSTALL_MS = 240_000

const SERVER = `
import express from 'express'
import session from 'express-session'
import { RedisStore, sessionHelpers } from 'meetabl-session'

const app = express()
app.use(session({ store: new RedisStore(), secret: 'of this test only', resave: false, saveUninitialized: false }))
app.use(sessionHelpers())
app.post('/login', async (req, res) => {
  await req.regenerateSession()
  req.session.user = 'ada'
  res.json({ user: req.session.user })
})
app.get('/me', (req, res) => res.json({ user: req.session.user ?? null }))
const server = app.listen(0, '127.0.0.1', () => process.send(server.address().port))
`

describe('the versions', () => {
  test.each(PLATFORMS)('$name has the version of the main package', ({ version }) => {
    expect(version).toBe(MAIN.version)
  })

  test('so have the crate and the lockfile', () => {
    const crate = fs.readFileSync(path.join(ROOT, 'Cargo.toml'), 'utf8')
    expect(/^version = "(.+)"$/m.exec(crate)[1]).toBe(MAIN.version)
    expect(readJson(ROOT, 'package-lock.json').version).toBe(MAIN.version)
  })
})

describe('the platforms', () => {
  const binding = fs.readFileSync(path.join(ROOT, 'binding.js'), 'utf8')

  test('there is one package for each target that is built', () => {
    expect(PLATFORMS).toHaveLength(MAIN.napi.targets.length)
  })

  test.each(PLATFORMS)('$name is looked for, under this name and file, and holds nothing else', (platform) => {
    expect(binding).toContain(`require('${platform.name}')`)
    expect(binding).toContain(`require('./${platform.main}')`)
    expect(platform.files).toEqual([platform.main])
    expect(platform.engines).toEqual(MAIN.engines)
  })
})

describe('the packages, installed into an empty app', () => {
  const scratch = fs.mkdtempSync(path.join(os.tmpdir(), 'meetabl-package-'))
  const app = path.join(scratch, 'app')
  const installed = path.join(app, 'node_modules')

  beforeAll(async () => {
    const tarballs = path.join(scratch, 'tarballs')
    await run(process.execPath, [path.join(ROOT, 'scripts', 'pack.mjs'), gatherAddons(scratch), tarballs])
    fs.mkdirSync(app)
    fs.writeFileSync(path.join(app, 'package.json'), JSON.stringify(manifest(tarballs)))
    fs.writeFileSync(path.join(app, 'server.mjs'), SERVER)
    await run('npm', ['install', '--prefix', app, '--prefer-offline', '--no-audit', '--no-fund'], { cwd: app })
  }, INSTALL_MS)

  afterAll(() => fs.rmSync(scratch, { recursive: true, force: true }))

  test('the main package holds what a user needs, and nothing else', () => {
    const modules = fs.readdirSync(path.join(ROOT, 'lib')).filter((name) => name.endsWith('.js'))
    expect(filesIn(path.join(installed, MAIN.name))).toEqual(
      [
        'LICENSE',
        'README.md',
        'binding.d.ts',
        'binding.js',
        'browser.d.mts',
        'browser.mjs',
        'index.d.ts',
        'index.js',
        'package.json',
        ...modules.map((name) => `lib/${name}`)
      ].sort()
    )
  })

  test('it names every platform in exactly its own version, and nothing that only developers need', () => {
    const published = readJson(installed, MAIN.name, 'package.json')
    const versions = Object.fromEntries(PLATFORMS.map(({ name }) => [name, MAIN.version]))
    expect(published.optionalDependencies).toEqual(versions)
    expect(published).not.toHaveProperty('devDependencies')
    expect(published).not.toHaveProperty('scripts')
  })

  test("npm has chosen this platform's package alone", () => {
    const chosen = fs.readdirSync(installed).filter((name) => name.startsWith(`${MAIN.name}-`))
    expect(chosen).toHaveLength(1)
    const { main } = PLATFORMS.find(({ name }) => name === chosen[0])
    expect(filesIn(path.join(installed, chosen[0]))).toEqual(['README.md', main, 'package.json'].sort())
    expect(fs.statSync(path.join(installed, chosen[0], main)).size).toBeGreaterThan(0)
  })

  test('require and import give the same store', async () => {
    const program = `
      import { createRequire } from 'node:module'
      import { join } from 'node:path'
      import { RedisStore } from 'meetabl-session'
      const required = createRequire(join(process.cwd(), 'index.js'))('meetabl-session')
      console.log(typeof RedisStore, required.RedisStore === RedisStore)`
    const { stdout } = await run(process.execPath, ['--input-type=module', '--eval', program], { cwd: app })
    expect(stdout.trim()).toBe('function true')
  })

  test('a login is served, and its session is in Redis', async () => {
    const redis = await startRedis()
    const env = environment({ REDIS_PORT: String(redis.port) })
    const server = fork('server.mjs', { cwd: app, env, stdio: ['ignore', 'ignore', 'inherit', 'ipc'] })
    const ended = once(server, 'exit')
    try {
      const [port] = await Promise.race([
        once(server, 'message'),
        ended.then(() => Promise.reject(new Error('it ended')))
      ])
      const api = `http://127.0.0.1:${port}`

      const login = await fetch(`${api}/login`, { method: 'POST' })
      const [cookie] = login.headers.getSetCookie()[0].split(';')
      expect(await login.json()).toEqual({ user: 'ada' })

      const recognised = await fetch(`${api}/me`, { headers: { cookie } })
      expect(await recognised.json()).toEqual({ user: 'ada' })
      const stranger = await fetch(`${api}/me`)
      expect(await stranger.json()).toEqual({ user: null })

      const [, id] = /^connect\.sid=s:([\w-]+)\./.exec(decodeURIComponent(cookie))
      expect(await redis.command('KEYS', 'meetabl:sess:*')).toEqual([`meetabl:sess:${id}`])
      expect(JSON.parse(await redis.command('GET', `meetabl:sess:${id}`))).toMatchObject({ user: 'ada' })
    } finally {
      server.kill()
      await ended
      await redis.stop()
    }
  })
})

/** A folder with an addon for every platform: the built ones, and for the others a stand-in that nobody loads. */
function gatherAddons(scratch) {
  const folder = path.join(scratch, 'addons')
  fs.mkdirSync(folder)
  for (const { main } of PLATFORMS) {
    const built = path.join(ROOT, main)
    if (fs.existsSync(built)) fs.copyFileSync(built, path.join(folder, main))
    else fs.writeFileSync(path.join(folder, main), '')
  }
  return folder
}

/** The app's package.json. The platforms come from their tarballs, where a user's npm finds them in the registry. */
function manifest(tarballs) {
  const file = ({ name, version }) => `file:${path.join(tarballs, `${name}-${version}.tgz`)}`
  const { express, 'express-session': expressSession } = MAIN.devDependencies
  return {
    private: true,
    dependencies: { express, 'express-session': expressSession, [MAIN.name]: file(MAIN) },
    overrides: Object.fromEntries(PLATFORMS.map((platform) => [platform.name, file(platform)]))
  }
}

/** This environment, without what would configure the store. */
function environment(additions) {
  const rest = Object.entries(process.env).filter(([name]) => !/^(REDIS|SESSION)_/.test(name))
  return { ...Object.fromEntries(rest), ...additions }
}

function filesIn(folder) {
  const entries = fs.readdirSync(folder, { recursive: true, withFileTypes: true })
  const files = entries.filter((entry) => entry.isFile())
  return files.map((entry) => path.relative(folder, path.join(entry.parentPath, entry.name))).sort()
}

function readJson(...segments) {
  return JSON.parse(fs.readFileSync(path.join(...segments), 'utf8'))
}
