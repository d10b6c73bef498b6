module.exports = {
  testEnvironment: 'node',
  // Also keeps jest from crawling through target/ and npm/.
  roots: ['<rootDir>/__test__'],
  testMatch: ['**/__test__/**/*.test.js'],
  testTimeout: 20_000,
  // The other half of the machine belongs to what the tests start: Redis servers and the addon's own threads.
  maxWorkers: '50%'
}
