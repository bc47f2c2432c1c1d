// A one-time link has its code behind the #: it is taken out of the address, and exchanged for a session.
const code = location.hash.slice(1);
if (code) {
  history.replaceState(null, "", location.pathname);
  const form = document.getElementById("sign-in");
  document.getElementById("code").value = code;
  document.getElementById("token").required = false;
  form.submit();
}
