// P2, P3: what a session object is in step with, when its saves overlap and some fail.
const { Bases } = require('../lib/bases')

/** A session that was loaded as `loaded`, and the texts that it is saved as. */
function sessionOf(bases) {
  const session = { save() {} }
  bases.loaded('sid', session, 'loaded')
  return session
}

test.each([
  ['none is answered', [], 'second'],
  ['the first is written', ['saved first'], 'second'],
  ['the first is written, the second fails', ['saved first', 'failed second'], 'first'],
  ['the first fails, the second is written', ['failed first', 'saved second'], 'second'],
  ['both fail', ['failed first', 'failed second'], 'loaded'],
  ['both fail, the second first', ['failed second', 'failed first'], 'loaded']
])('P2 of two saves at once, %s: the next is made from the right text', (_, answers, expected) => {
  const bases = new Bases(true)
  const session = sessionOf(bases)
  const notes = { first: bases.saving('sid', session, 'first'), second: bases.saving('sid', session, 'second') }
  for (const answer of answers) {
    const [what, which] = answer.split(' ')
    if (what === 'saved') bases.saved(notes[which])
    else bases.failed(session, notes[which])
  }
  expect(bases.get('sid', session)).toBe(expected)
})
