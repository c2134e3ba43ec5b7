"""Interactive messages about products of the catalogue."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from stream.specification.payloads.interactive_parts import Body, Footer, ProductSection, TextHeader
from stream.specification.payloads.part import Part, Text


class ProductAction(Part):
    """The product."""

    catalog_id: Text
    product_retailer_id: Text = Field(description="The product's SKU in the catalogue.")


class InteractiveProduct(Part):
    """One product of the catalogue. Has no header."""

    type: Literal["product"]
    body: Body | None = None
    footer: Footer | None = None
    action: ProductAction


class ProductListAction(Part):
    """The products."""

    catalog_id: Text
    sections: list[ProductSection] = Field(min_length=1, max_length=10, description="1 to 10 sections.")


class InteractiveProductList(Part):
    """Several products of the catalogue. Must have a header."""

    type: Literal["product_list"]
    header: TextHeader
    body: Body
    footer: Footer | None = None
    action: ProductListAction


class CatalogAction(Part):
    """The catalogue."""

    name: Literal["catalog_message"]
    parameters: dict[str, Any] | None = Field(
        default=None, description="`thumbnail_product_retailer_id`: the product whose picture is shown."
    )


class InteractiveCatalog(Part):
    """Opens the catalogue."""

    type: Literal["catalog_message"]
    body: Body
    footer: Footer | None = None
    action: CatalogAction
