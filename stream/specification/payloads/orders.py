"""Interactive messages about payments: order details and order status (India, Brazil, Singapore)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from stream.specification.payloads.interactive_parts import Body, Footer, Header
from stream.specification.payloads.part import Part, Text


class Amount(Part):
    """An amount of money."""

    value: int = Field(description="In the smallest unit: the amount times `offset`.")
    offset: Literal[100] = Field(description="Always 100.")


class OrderItem(Part):
    """One article."""

    retailer_id: Text | None = None
    name: Text
    amount: Amount
    sale_amount: Amount | None = None
    quantity: int = Field(ge=1)


class Order(Part):
    """What is bought."""

    status: Text
    items: list[OrderItem] | None = None
    subtotal: Amount | None = None
    tax: Amount | None = None
    shipping: Amount | None = None
    discount: Amount | None = None


class OrderDetailsParameters(Part):
    """The bill."""

    reference_id: Text = Field(description="Yours; the order status refers to it.")
    type: Text = Field(description="`digital-goods` or `physical-goods`.")
    currency: str = Field(pattern="^[A-Z]{3}$", description="ISO 4217, e.g. INR.")
    total_amount: Amount
    order: Order
    payment_type: Text | None = None
    payment_configuration: Text | None = None


class OrderDetailsAction(Part):
    """Pay."""

    name: Literal["review_and_pay"]
    parameters: OrderDetailsParameters


class InteractiveOrderDetails(Part):
    """A bill that can be paid in the chat."""

    type: Literal["order_details"]
    header: Header | None = None
    body: Body
    footer: Footer | None = None
    action: OrderDetailsAction


class OrderStatusParameters(Part):
    """What happened to the order."""

    reference_id: Text = Field(description="That of the order details.")
    order: dict[str, Any] = Field(description="`status` (pending, processing, shipped, completed, …), `description`.")


class OrderStatusAction(Part):
    """News."""

    name: Literal["review_order"]
    parameters: OrderStatusParameters


class InteractiveOrderStatus(Part):
    """News of an order."""

    type: Literal["order_status"]
    body: Body
    footer: Footer | None = None
    action: OrderStatusAction
