"""The interactive documentation at /docs, with its scripts served from here: it works without the internet."""

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

DOCS_PATH = "/docs"
ASSETS_PATH = "/docs/assets"
OPENAPI_PATH = "/openapi.json"


def add_docs(app: FastAPI) -> None:
    """Serve Swagger UI for the application's own OpenAPI document."""
    page = get_swagger_ui_html(
        openapi_url=OPENAPI_PATH,
        title=app.title,
        swagger_js_url=f"{ASSETS_PATH}/swagger-ui-bundle.js",
        swagger_css_url=f"{ASSETS_PATH}/swagger-ui.css",
        swagger_favicon_url=f"{ASSETS_PATH}/favicon-32x32.png",
        swagger_ui_parameters={"persistAuthorization": True, "tryItOutEnabled": True, "filter": True},
    )

    @app.get(DOCS_PATH, include_in_schema=False)
    async def docs() -> HTMLResponse:
        return page

    app.mount(ASSETS_PATH, StaticFiles(packages=[("fastapi_swagger", "resources")]))
