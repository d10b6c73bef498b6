// Makes the tarballs that are published: one for each platform, and the main package that picks among them.
//
//   node scripts/pack.mjs <folder with the built addons> <folder for the tarballs>
//
// The main package names the platforms' in `optionalDependencies`. It does so only in the tarball: in the repository's
// own package.json, `npm ci` would fail as long as a version is not published.

import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { npm, root } from './run.mjs'

const ADDED_BY_NPM = ['README.md', 'LICENSE']
const ONLY_FOR_DEVELOPMENT = ['devDependencies', 'jest', 'napi', 'scripts', 'tsd']

const [addons, destination] = process.argv.slice(2).map((folder) => path.resolve(folder))
const scratch = mkdtempSync(path.join(tmpdir(), 'meetabl-session-pack-'))
try {
  mkdirSync(destination, { recursive: true })
  const platforms = readdirSync(path.join(root, 'npm')).map(packPlatform)
  packMain(Object.fromEntries(platforms.map(({ name, version }) => [name, version])))
} finally {
  rmSync(scratch, { recursive: true, force: true })
}

function packPlatform(platform) {
  const folder = path.join(root, 'npm', platform)
  const manifest = readManifest(folder)
  pack(manifest, [
    [folder, 'README.md'],
    [addons, manifest.main]
  ])
  return manifest
}

function packMain(optionalDependencies) {
  const manifest = { ...readManifest(root), optionalDependencies }
  for (const field of ONLY_FOR_DEVELOPMENT) delete manifest[field]
  pack(
    manifest,
    [...manifest.files, ...ADDED_BY_NPM].map((file) => [root, file])
  )
}

function pack(manifest, files) {
  const folder = path.join(scratch, manifest.name)
  for (const [from, file] of files) {
    const source = path.join(from, file)
    if (!existsSync(source)) throw new Error(`${manifest.name}: ${source} is missing`)
    cpSync(source, path.join(folder, file), { recursive: true })
  }
  writeFileSync(path.join(folder, 'package.json'), `${JSON.stringify(withRepository(manifest), null, 2)}\n`)
  if (!npm('pack', folder, '--pack-destination', destination)) throw new Error(`${manifest.name}: npm pack failed`)
}

/** npm accepts a provenance only for a package that names the repository that it was built in. */
function withRepository(manifest) {
  const { GITHUB_SERVER_URL, GITHUB_REPOSITORY } = process.env
  if (!GITHUB_REPOSITORY) return manifest
  return { ...manifest, repository: { type: 'git', url: `git+${GITHUB_SERVER_URL}/${GITHUB_REPOSITORY}.git` } }
}

function readManifest(folder) {
  return JSON.parse(readFileSync(path.join(folder, 'package.json'), 'utf8'))
}
