SwaggerUIBundle({
  // Relative to the page, and absolute for Swagger UI: the service may stand under a prefix.
  url: new URL("openapi.json", location.href).href,
  dom_id: "#docs",
  deepLinking: true,
  persistAuthorization: true,
  displayRequestDuration: true,
  defaultModelsExpandDepth: 0,
});
