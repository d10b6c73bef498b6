// What a test starts it hands to `later`, which ends it when the test is over, newest first, whether the test passed
// or threw. A failing cleanup does not keep the others from running.
function laterForEach() {
  return collect(afterEach)
}

/** The same for what a whole `describe` shares. */
function laterForAll() {
  return collect(afterAll)
}

function collect(hook) {
  const cleanups = []
  hook(async () => {
    const failures = []
    for (const cleanup of cleanups.splice(0).reverse()) {
      try {
        await cleanup()
      } catch (error) {
        failures.push(error)
      }
    }
    if (failures.length > 0) throw failures[0]
  })
  return (cleanup) => cleanups.push(cleanup)
}

module.exports = { laterForEach, laterForAll }
