import assert from 'node:assert/strict';
import { test } from 'node:test';

import { parse } from '../src/messages.js';

test('a message of this version is read', () => {
  assert.equal(parse('{"v":1,"type":"warning","code":"overloaded","message":"m"}')?.type, 'warning');
});

test('fields that are not known here are let through', () => {
  assert.ok(parse('{"v":1,"type":"error","code":"c","message":"m","hint":"new"}'));
});

for (const [what, data] of [
  ['another version', '{"v":2,"type":"result"}'],
  ['a type not known here', '{"v":1,"type":"weather"}'],
  ['a type that every object has', '{"v":1,"type":"constructor"}'],
  ['what is no JSON', 'hello'],
  ['null', 'null'],
  ['a bare number', '1'],
  ['binary', new ArrayBuffer(4)],
]) {
  test(`${what} is no message`, () => assert.equal(parse(data), null));
}
