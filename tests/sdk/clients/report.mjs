// Checks by name, and what came of them as JSON: the same as report.py, for Node.
import assert from 'node:assert/strict';

export const URL = process.env.GATEWAY_URL;
export const KEY = process.env.GATEWAY_KEY;
export const ASK = [{ role: 'user', content: 'The capital of France is' }];
export { assert };

export async function raises(kind, call, says = '') {
  try {
    await call();
  } catch (error) {
    assert.ok(error instanceof kind, `${error?.constructor?.name}: ${error}`);
    assert.ok(String(error.message).includes(says), error.message);
    return error;
  }
  assert.fail(`${kind.name} was not thrown`);
}

export async function run(checks) {
  const results = {};
  for (const [name, check] of Object.entries(checks)) {
    try {
      await check();
      results[name] = '';
    } catch (error) {
      results[name] = String(error?.stack ?? error).slice(0, 1500);
    }
  }
  console.log(JSON.stringify(results));
}
