await null;
function f() {
  throw new TypeError('thrown in a module');
}
f();
