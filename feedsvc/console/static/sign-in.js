// Sign in with the code of a one-time link, which stands after the #. The code leaves the address
// first, so that it does not stay in the browser's history.
const code = location.hash.slice(1);
if (code) {
  history.replaceState(null, "", location.pathname);
  const form = document.getElementById("sign-in");
  document.getElementById("code").value = code;
  document.getElementById("token").required = false;
  form.submit();
}
